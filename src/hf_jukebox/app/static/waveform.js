// Waveforms on a canvas: 0 to 100 per peak, with what is played, the prompt and the position.

export function drawWaveform(canvas, { peaks, perSecond, seconds, played = 0, prompt = 0 }) {
  const scale = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (!width || !seconds) return;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(name);
  const bars = Math.max(Math.floor(width / 3), 1);
  for (let bar = 0; bar < bars; bar++) {
    const [from, to] = [bar, bar + 1].map((each) => Math.floor((each / bars) * seconds * perSecond));
    if (from >= peaks.length) break;
    const peak = Math.max(...peaks.slice(from, Math.max(to, from + 1)));
    const size = Math.max((peak / 100) * height, 1);
    context.fillStyle = color((bar / bars) * seconds < played ? "--accent" : "--faint");
    context.fillRect((bar * width) / bars, (height - size) / 2, 2, size);
  }
  if (prompt) {
    context.strokeStyle = color("--soft");
    context.setLineDash([4, 3]);
    line(context, (prompt / seconds) * width, height);
  }
  if (played) {
    context.setLineDash([]);
    context.strokeStyle = color("--ink");
    line(context, (played / seconds) * width, height);
  }
}

function line(context, x, height) {
  context.lineWidth = 2;
  context.beginPath();
  context.moveTo(x, 0);
  context.lineTo(x, height);
  context.stroke();
}

export function clock(seconds) {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** A length of time in words, for estimates. */
export function duration(seconds) {
  if (seconds < 1) return "a second";
  if (seconds < 90) return `${Math.round(seconds)} seconds`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} minutes`;
  return `${(seconds / 3600).toFixed(1)} hours`;
}

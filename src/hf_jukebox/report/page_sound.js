// Switches of the listener. They change how the page plays, never the files.

const SIDE = 0.6; // of the delayed sound, added on the left and subtracted on the right
const DELAY = 0.012; // seconds
const LARGEST_CUT = 20; // dB

const equalLoudness = document.getElementById("equal-loudness");
const pseudoStereo = document.getElementById("pseudo-stereo");
const chooseFolder = document.getElementById("choose-folder");
const audios = cards.flatMap((card) => card.audios);
let context = null;
const graphs = new Map(); // of each audio element that goes through the context: its end, and the gains of the sides

/** Turn all files down to the quietest. */
function applyLoudness() {
  const known = audios.filter((audio) => audio.dataset.loudness !== undefined);
  const quietest = Math.min(...known.map((audio) => Number(audio.dataset.loudness)));
  for (const audio of known) {
    const cut = Math.min(Number(audio.dataset.loudness) - quietest, LARGEST_CUT);
    audio.volume = equalLoudness.checked ? 10 ** (-cut / 20) : 1;
  }
}

/** Make two channels of one, of which the sum is the one again (Lauridsen's comb filters, 1954). */
function connect(audio) {
  const source = context.createMediaElementSource(audio);
  const [mono, delay, merger] = [context.createGain(), context.createDelay(1), context.createChannelMerger(2)];
  mono.channelCount = 1;
  mono.channelCountMode = "explicit";
  delay.delayTime.value = DELAY;
  source.connect(mono).connect(delay);
  const gains = [1, -1].map((sign, channel) => {
    const side = context.createGain();
    delay.connect(side).connect(merger, 0, channel);
    mono.connect(merger, 0, channel);
    return [side, sign];
  });
  merger.connect(context.destination);
  graphs.set(audio, { end: merger, gains });
}

function applyStereo() {
  if (pseudoStereo.checked && context === null) {
    context = new AudioContext();
    audios.forEach(connect);
  }
  context?.resume();
  for (const { gains } of graphs.values()) {
    for (const [side, sign] of gains) side.gain.value = pseudoStereo.checked ? sign * SIDE : 0;
  }
}

/** Play the files of a folder that the listener chose, in place of those that a page from the disk may not process. */
function useFolder(files) {
  let found = 0;
  for (const audio of audios) {
    const file = [...files].find((each) => each.webkitRelativePath.endsWith(`/${pathOf(audio)}`));
    if (!file) continue;
    const { currentTime, paused } = audio;
    audio.src = URL.createObjectURL(file);
    audio.currentTime = currentTime;
    if (!paused) audio.play();
    found += 1;
  }
  chooseFolder.hidden = found === audios.length;
  pseudoStereo.checked = chooseFolder.hidden;
  if (chooseFolder.hidden) applyStereo();
}

equalLoudness.addEventListener("change", applyLoudness);
chooseFolder.querySelector("input").addEventListener("change", (event) => useFolder(event.target.files));
pseudoStereo.addEventListener("change", () => {
  const isFromDisk = audios.some((audio) => audio.src.startsWith("file:"));
  chooseFolder.hidden = !(isFromDisk && pseudoStereo.checked);
  if (isFromDisk) pseudoStereo.checked = false;
  else applyStereo();
});

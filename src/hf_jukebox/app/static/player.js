// One player for the whole page: another candidate or level continues at the same position.

const audio = document.getElementById("audio");
const listeners = new Set();
let source = ""; // the address of what is loaded, without the server

export function onPlayer(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export const isPlaying = (address) => address === source && isRunning();
export const isLoaded = (address) => address === source;
export const position = () => audio.currentTime;

const isRunning = () => !audio.paused && !audio.error; // an audio that has failed is not paused

/** Play or pause an address; `keep` continues where another one was. */
export function toggle(address, keep = false) {
  if (isPlaying(address)) audio.pause();
  else play(address, keep);
}

export function play(address, keep = false) {
  const time = (keep || address === source) && !audio.ended ? audio.currentTime : 0;
  if (needsLoading(address)) load(address, time);
  audio.play().catch(() => notify()); // refused, or interrupted by another one
}

export function seek(address, time) {
  if (needsLoading(address)) load(address, time);
  else audio.currentTime = time;
  notify();
}

export function stop() {
  audio.pause();
  audio.removeAttribute("src");
  audio.load(); // ends the request of a file that grows
  source = "";
}

/** Another address has to be loaded, and so has one that has failed, as when the server was gone for a while. */
function needsLoading(address) {
  return address !== source || audio.error !== null;
}

function load(address, time) {
  source = address;
  audio.src = address;
  if (time) audio.currentTime = time;
}

function notify() {
  for (const listener of listeners) listener();
}

let frame = 0; // of the one loop that draws while an audio is played

function animate() {
  notify();
  frame = isRunning() ? requestAnimationFrame(animate) : 0;
}

audio.addEventListener("play", () => frame || animate());
for (const event of ["pause", "ended", "seeked", "timeupdate", "error"]) audio.addEventListener(event, notify);

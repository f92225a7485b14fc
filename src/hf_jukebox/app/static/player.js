// One player for the whole page: another candidate or level continues at the same position.

const audio = document.getElementById("audio");
const listeners = new Set();
let source = ""; // the address of what is loaded, without the server

export function onPlayer(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export const isPlaying = (address) => address === source && !audio.paused;
export const isLoaded = (address) => address === source;
export const position = () => audio.currentTime;

/** Play or pause an address; `keep` continues where another one was. */
export function toggle(address, keep = false) {
  if (address === source && !audio.paused) audio.pause();
  else play(address, keep);
}

export function play(address, keep = false) {
  const time = keep && !audio.ended ? audio.currentTime : 0;
  if (address !== source) load(address, time);
  audio.play().catch(() => notify()); // refused, or interrupted by another one
}

export function seek(address, time) {
  if (address !== source) load(address, time);
  else audio.currentTime = time;
  notify();
}

export function stop() {
  audio.pause();
  audio.removeAttribute("src");
  audio.load(); // ends the request of a file that grows
  source = "";
}

function load(address, time) {
  source = address;
  audio.src = address;
  if (time) audio.currentTime = time;
}

function notify() {
  for (const listener of listeners) listener();
}

function animate() {
  notify();
  if (!audio.paused) requestAnimationFrame(animate);
}

audio.addEventListener("play", animate);
for (const event of ["pause", "ended", "seeked", "timeupdate", "error"]) audio.addEventListener(event, notify);

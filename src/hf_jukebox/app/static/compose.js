// The form for a new piece: what it begins with, its labels and lengths.

import { get, post, upload } from "./api.js";
import { labelFields, values } from "./labels.js";
import { isPlaying, onPlayer, position, seek, toggle } from "./player.js";
import { drawWaveform, duration } from "./waveform.js";

const form = document.getElementById("compose");
const error = document.getElementById("compose-error");
const estimate = document.getElementById("estimate");
const drop = document.getElementById("drop");
const file = document.getElementById("file");
const uploading = document.getElementById("uploading");
const view = document.getElementById("prompt-view");
const end = document.getElementById("prompt-end");
const submit = form.querySelector("[type=submit]"); // disabled in the page, until the model is loaded
const playButton = document.getElementById("prompt-play");
let prompt = null;
let server = null;
let show = null; // shows a piece that was made
let isBusy = false;

export function startCompose(created) {
  show = created;
}

/** Nothing can be made without a model; what is filled in stays. */
export function refuse() {
  estimate.textContent = "not without a model";
}

export function useServer(loaded) {
  server = loaded;
  form.querySelector("[data-labels]").replaceChildren(...labelFields(server.model));
  form.elements.candidates.max = server.limits.candidates;
  form.elements.seconds.max = server.limits.seconds;
  for (const name of ["input", "change"]) form.addEventListener(name, showEstimate);
  submit.disabled = isBusy;
  showEstimate();
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (server) await reporting(async () => show(await post("/v1/runs", request())));
});

function request() {
  const body = values(form, ["artist", "genre", "lyrics", "candidates", "temperature", "seed", "title"]);
  const begin = prompt ? Number(end.value) : 0;
  body.seconds = begin + Number(form.elements.seconds.value);
  if (prompt) Object.assign(body, { prompt: prompt.prompt, prompt_seconds: begin });
  if (form.elements.levels.value === "top") body.levels = [Math.max(...server.model.levels)];
  return body;
}

let timer = 0;
function showEstimate() {
  clearTimeout(timer);
  if (!server) return;
  timer = setTimeout(async () => {
    const { seconds, candidates, levels } = request();
    const given = prompt ? Number(end.value) : 0;
    const query = new URLSearchParams({ seconds, given, candidates: candidates ?? 1, levels: levels ?? "" });
    const found = await get(`/v1/estimate?${query}`).catch(() => ({}));
    if (found.seconds == null) setTimeout(showEstimate, 3000); // the speed is being measured
    estimate.textContent = found.seconds == null ? "" : `takes about ${duration(found.seconds)}`;
  }, 200);
}

async function reporting(action) {
  error.textContent = "";
  isBusy = submit.disabled = true;
  try {
    await action();
  } catch (problem) {
    error.textContent = problem.message;
  } finally {
    isBusy = false;
    submit.disabled = server === null;
  }
}

// The prompt ---------------------------------------------------------------------------------------------------------

const address = () => `/v1/prompts/${prompt.prompt}`;

function use(found) {
  prompt = found;
  view.hidden = prompt === null;
  if (prompt) {
    document.getElementById("prompt-name").textContent = prompt.name;
    document.getElementById("prompt-remark").textContent = prompt.remark ?? "";
    end.max = prompt.seconds;
    end.value = Math.min(prompt.seconds, server?.model ? server.model.window_in_s / 2 : prompt.seconds);
    drawPrompt();
  }
  showEstimate();
}

function drawPrompt() {
  if (!prompt) return;
  document.getElementById("prompt-end-shown").textContent = `${Number(end.value).toFixed(2)} s`;
  end.setAttribute("aria-valuetext", `${Number(end.value).toFixed(2)} of ${prompt.seconds.toFixed(2)} seconds`);
  drawWaveform(document.getElementById("prompt-wave"), {
    peaks: prompt.peaks, perSecond: 20, seconds: prompt.seconds, played: Number(end.value),
  });
  playButton.textContent = isPlaying(address()) ? "Pause" : "Play";
  playButton.setAttribute("aria-label", `${playButton.textContent} the prompt`);
  if (isPlaying(address()) && position() >= Number(end.value)) {
    toggle(address());
    seek(address(), 0);
  }
}

async function take(chosen) {
  await reporting(async () => {
    const limit = server?.limits.upload_bytes ?? Infinity;
    if (chosen.size > limit) {
      throw new Error(`${chosen.name} is larger than ${Math.round(limit / 2 ** 20)} MiB, the limit of this server.`);
    }
    const found = await showingUpload(chosen);
    if (!found.song) use(found);
    else show(await post(`/v1/prompts/${found.prompt}/open`));
  });
}

/** Show how far the upload is, and once all of it is sent, that the server reads it. */
async function showingUpload(chosen) {
  const bar = uploading.querySelector("progress");
  const text = uploading.querySelector("[role=status]");
  bar.removeAttribute("value");
  text.textContent = `Uploading ${chosen.name} …`;
  uploading.hidden = false;
  try {
    return await upload(chosen, (share) => {
      if (share < 1) bar.value = share;
      else bar.removeAttribute("value");
    });
  } finally {
    uploading.hidden = true;
    text.textContent = "";
  }
}

file.addEventListener("change", () => file.files.length && take(file.files[0]));
document.getElementById("use-example").addEventListener("click", () =>
  reporting(async () => use(await get("/v1/prompts/example/peaks"))));
document.getElementById("no-prompt").addEventListener("click", () => use(null));
playButton.addEventListener("click", () => toggle(address()));
end.addEventListener("input", drawPrompt);
onPlayer(drawPrompt);
window.addEventListener("resize", drawPrompt);
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault(); // elsewhere on the page the browser would open the file
    drop.classList.toggle("over", name === "dragover");
    if (name === "drop" && event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
  });
}


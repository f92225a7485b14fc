// The page: waits for the model, then connects the form, the list and the run that is open.

import { get } from "./api.js";
import { startCompose } from "./compose.js";
import { RunView } from "./run.js";
import { showRuns } from "./runs.js";

const LIST_PAUSE = 3000; // milliseconds

const status = document.getElementById("model");

async function loadModel() {
  for (;;) {
    const server = await get("/v1/model").catch((error) => ({ failure: error.message }));
    if (server.model) return server;
    status.textContent = server.failure || "Loading the model …";
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

showRuns();
const server = await loadModel();
status.textContent = `Model: ${server.model.name}`;
const view = new RunView(server.model, showRuns);
const openHash = () => {
  view.open(decodeURIComponent(location.hash.slice(1)) || null);
  showRuns();
};

startCompose(server, (run) => {
  location.hash = encodeURIComponent(run.id);
  view.focus();
});
window.addEventListener("hashchange", openHash);
openHash();
setInterval(() => document.hidden || showRuns(), LIST_PAUSE);
document.documentElement.dataset.ready = "true";

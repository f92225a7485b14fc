// The page: pieces are shown and played at once, and the form makes new ones as soon as the model is loaded.

import { get } from "./api.js";
import { refuse, startCompose, useServer } from "./compose.js";
import { RunView } from "./run.js";
import { currentId, showRuns } from "./runs.js";

const LIST_PAUSE = 3000; // milliseconds

const status = document.getElementById("model");

async function loadModel() {
  for (;;) {
    const server = await get("/v1/model").catch(() => ({}));
    if (server.model) return server;
    if (server.failure) refuse();
    const text = server.failure || "Loading the model …";
    if (status.textContent !== text) status.textContent = text;
    await new Promise((resolve) => setTimeout(resolve, server.failure ? LIST_PAUSE : 500));
  }
}

const view = new RunView(showRuns);
const openHash = () => {
  view.open(currentId());
  showRuns();
};
startCompose((run) => {
  location.hash = encodeURIComponent(run.id);
  view.focus();
});
window.addEventListener("hashchange", openHash);
openHash();
setInterval(() => document.hidden || showRuns(), LIST_PAUSE);

const server = await loadModel();
status.textContent = `Model: ${server.model.name}`;
view.use(server.model);
useServer(server);
document.documentElement.dataset.ready = "true";

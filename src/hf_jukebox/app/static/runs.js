// The list of pieces.

import { get } from "./api.js";
import { element } from "./labels.js";

const list = document.getElementById("runs");
const words = { running: "sampling", queued: "waiting", stopped: "stopped", failed: "failed", finished: "", damaged: "damaged" };
let shown = "";

/** The run that the address names, or null. */
export function currentId() {
  const fragment = location.hash.slice(1);
  try {
    return decodeURIComponent(fragment) || null;
  } catch {
    return fragment; // names no run, which the server says
  }
}

export async function showRuns() {
  const runs = await get("/v1/runs").catch(() => null);
  if (runs === null) return;
  const current = currentId();
  const state = JSON.stringify([runs, current]);
  if (state === shown) return;
  shown = state;
  document.getElementById("no-runs").hidden = runs.length > 0;
  const focused = document.activeElement?.getAttribute("href");
  list.replaceChildren(...runs.map((run) => {
    const link = element("a");
    link.href = `#${encodeURIComponent(run.id)}`;
    if (run.id === current) link.setAttribute("aria-current", "true");
    const place = run.place ? `, ${run.place} before it` : "";
    link.append(element("span", run.title, "title"), element("span", words[run.state] + place, "state"));
    const item = element("li");
    item.append(link);
    return item;
  }));
  if (focused?.startsWith("#")) list.querySelector(`[href="${CSS.escape(focused)}"]`)?.focus();
}

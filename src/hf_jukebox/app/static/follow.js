// Following a run: its events while it is sampled, a question now and then while it rests, nothing while the page is
// hidden. A browser opens six connections to a server for all its tabs together, and each stream of events holds one.

import { get } from "./api.js";

const PAUSE = 3000; // milliseconds

export class Follower {
  /**
   * @param show gets the state of the run, whenever there may be another one.
   * @param fail gets a sentence if there is no such run (any more).
   */
  constructor(id, show, fail) {
    Object.assign(this, { path: `/v1/runs/${encodeURIComponent(id)}`, show, fail });
    this.onVisibility = () => (document.hidden ? this.pause() : this.ask());
    document.addEventListener("visibilitychange", this.onVisibility);
    this.ask();
  }

  /** Ask for the state; an answer that comes after the page was hidden or asked again is not used. */
  async ask() {
    this.pause();
    const asked = (this.asked = {});
    const isCurrent = () => this.asked === asked;
    try {
      const run = await get(this.path);
      if (isCurrent()) this.show(run); // which calls `goOn`
    } catch (problem) {
      if (!isCurrent()) return;
      if (problem.isAnswer) this.fail(problem.message);
      else this.timer = setTimeout(() => this.ask(), PAUSE);
    }
  }

  /** Go on after a state was shown, whether it came from here or as the answer to an action. */
  goOn(run) {
    if (document.hidden) return;
    const isBusy = ["running", "queued"].includes(run.state);
    if (isBusy && this.source) return;
    this.pause();
    if (!isBusy) {
      this.timer = setTimeout(() => this.ask(), PAUSE);
      return;
    }
    this.source = new EventSource(this.path);
    this.source.onmessage = (event) => this.show(JSON.parse(event.data));
    this.source.onerror = () => this.ask(); // the server has gone, or with it the run: the answer says which
    this.source.addEventListener("gone", () => this.ask());
  }

  pause() {
    this.asked = null;
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }

  end() {
    this.pause();
    document.removeEventListener("visibilitychange", this.onVisibility);
  }
}

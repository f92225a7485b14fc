// One run: its state, its candidates, and what can be done next.

import { post, remove } from "./api.js";
import { Candidates } from "./candidates.js";
import { rebuild, setText } from "./focus.js";
import { Follower } from "./follow.js";
import { button, element, labelFields, values } from "./labels.js";
import { onPlayer, stop as stopPlayer } from "./player.js";
import { clock, duration } from "./waveform.js";

const panel = document.getElementById("run");
const view = document.getElementById("run-view");
const empty = document.getElementById("run-empty");

export class RunView {
  constructor(changed) {
    this.model = null; // while it is being loaded, or if it cannot be
    this.changed = changed;
    this.id = null;
    this.follower = null;
    onPlayer(() => this.candidates?.draw());
    window.addEventListener("resize", () => this.candidates?.draw());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.candidates?.draw());
  }

  /** Show what the model can do next with the run. */
  use(model) {
    this.model = model;
    if (this.run) this.show(this.run);
  }

  open(id) {
    this.follower?.end();
    stopPlayer();
    const hadFocus = view.contains(document.activeElement); // "Go back to it", "Delete"
    this.id = id;
    this.run = null;
    this.level = null;
    view.hidden = id === null;
    empty.hidden = id !== null;
    panel.setAttribute("aria-labelledby", id === null ? "welcome" : "run-title");
    if (id === null && hadFocus) panel.focus();
    if (id === null) return;
    this.build();
    this.isAwaited = hadFocus; // its heading gets the focus as soon as it has a text
    this.follower = new Follower(id, (run) => this.show(run), (error) => this.fail(error));
  }

  build() {
    this.title = Object.assign(element("h2"), { id: "run-title", tabIndex: -1 });
    this.state = element("span"); // is read out when it changes, and so it holds no numbers that change all the time
    this.state.setAttribute("role", "status");
    this.numbers = element("span");
    const line = element("p", "", "state");
    line.append(this.state, this.numbers);
    this.buttons = element("div", "", "actions");
    const words = element("div");
    this.origin = element("p", "", "hint");
    words.append(this.title, line, this.origin);
    const head = element("div", "", "run-head");
    head.append(words, this.buttons);
    this.progress = Object.assign(document.createElement("progress"), { max: 1 });
    this.progress.setAttribute("aria-label", "Sampled");
    this.error = element("p", "", "error");
    this.error.setAttribute("role", "alert");
    this.levels = element("fieldset", "", "levels");
    this.candidates = new Candidates(this.title, (item) => {
      stopPlayer(); // what is loaded may be a candidate that is gone then
      this.act("pick", { candidate: item });
    });
    this.next = element("div");
    this.history = element("div");
    view.replaceChildren(head, this.progress, this.error, this.levels, this.candidates.element, this.next, this.history);
    this.shapes = {};
  }

  async act(action, body) {
    const { id } = this; // another run may be open when the answer comes
    this.error.textContent = "";
    try {
      const run = await post(`/v1/runs/${encodeURIComponent(id)}/${action}`, body);
      if (run.id !== id) location.hash = encodeURIComponent(run.id);
      else this.show(run);
    } catch (problem) {
      this.error.textContent = problem.message;
    }
    this.changed();
  }

  /** The run cannot be shown: it was deleted, perhaps elsewhere, or the address is wrong. */
  fail(error) {
    if (!this.run) this.title.textContent = "This piece cannot be shown";
    this.focusTitle();
    this.error.textContent = error;
    this.changed();
  }

  show(run) {
    if (run.id !== this.id) return;
    this.follower.goOn(run);
    const before = this.run;
    this.run = run;
    if (before?.state !== run.state) this.changed();
    if (before && before.steps.length !== run.steps.length) stopPlayer(); // its files are those of another step
    setText(this.title, run.title);
    this.focusTitle();
    setText(this.state, sentence(run));
    setText(this.numbers, numbers(run));
    setText(this.origin, run.origin);
    if (run.error || before?.error) setText(this.error, run.error);
    this.progress.hidden = run.state !== "running";
    this.progress.value = run.progress.share ?? 0;
    this.once("buttons", [run.state], this.buttons, () => this.stateButtons(run));
    const heard = [...new Set(run.audio.map((each) => each.level))].sort((a, b) => b - a);
    if (!heard.includes(this.level)) this.level = heard.at(0) ?? null;
    this.once("levels", [heard, this.level], this.levels, () => this.levelChoice(heard));
    this.candidates.show(run, this.level);
    const { state, steps } = run;
    this.once("next", [state, steps.length, run.levels, this.model !== null], this.next, () => this.nextSteps(run));
    const isFinal = run.audio.some((each) => each.final);
    this.once("history", [steps, run.commands, run.parent, isFinal], this.history, () => this.past(run));
  }

  /** Build a part anew only when what it shows has changed, so that the focus stays where it is. */
  once(name, shape, part, build) {
    const text = JSON.stringify([this.id, shape]);
    if (this.shapes[name] === text) return;
    this.shapes[name] = text;
    rebuild(part, this.title, () => part.replaceChildren(...build()));
  }

  focusTitle() {
    if (this.isAwaited) this.title.focus();
    this.isAwaited = false;
  }

  stateButtons(run) {
    const made = [];
    if (["running", "queued"].includes(run.state)) made.push(button("Stop", () => this.act("stop")));
    if (["stopped", "failed"].includes(run.state)) made.push(button("Resume", () => this.act("resume"), "primary"));
    for (const each of made) each.dataset.key = "stop or resume";
    made.push(button("Delete", () => this.remove()));
    return made;
  }

  async remove() {
    if (!confirm(`Delete ${this.run?.title ?? "this piece"} with all its audio?`)) return;
    this.follower.pause();
    try {
      await remove(`/v1/runs/${encodeURIComponent(this.id)}`);
      location.hash = "";
    } catch (problem) {
      this.error.textContent = problem.message;
      this.follower.ask();
    }
    this.changed();
  }

  levelChoice(heard) {
    this.levels.hidden = heard.length < 2;
    const finest = Math.min(...heard);
    const choices = heard.map((level) => {
      const label = element("label");
      const radio = Object.assign(document.createElement("input"), { type: "radio", name: "heard", value: level, checked: level === this.level });
      radio.addEventListener("change", () => {
        const before = this.candidates.audios;
        this.level = level;
        this.shapes.levels = JSON.stringify([this.id, [heard, level]]); // it is shown already
        this.candidates.show(this.run, level);
        this.candidates.follow(before);
      });
      label.append(radio, ` ${level}${level === finest && heard.length > 1 ? " (finest)" : ""}`);
      return label;
    });
    return [element("legend", "Level"), ...choices];
  }

  nextSteps(run) {
    if (run.state !== "finished" || !this.model) return [];
    const form = element("form");
    const fields = element("div", "", "fields");
    fields.append(...labelFields(this.model));
    for (const name of ["artist", "genre", "lyrics"]) {
      const field = fields.querySelector(`[name=${name}]`);
      if (field) field.value = run.candidates[0]?.[name] ?? "";
    }
    const lengths = element("div", "", "fields");
    lengths.append(number("More music, in seconds", "more", 10, 0.1, "any"), number("Candidates", "candidates", 1, 1, 1));
    const go = element("button", "Continue", "primary");
    const actions = element("p", "", "row");
    actions.append(go);
    if (Math.min(...run.levels) > Math.min(...this.model.levels)) {
      actions.append(button("Upsample to all levels", () => this.act("upsample")));
    }
    form.append(element("h3", "Next"), fields, lengths, actions);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const body = values(form, ["artist", "genre", "lyrics", "candidates"]);
      body.seconds = this.run.seconds + Number(form.elements.more.value);
      this.act("continue", body);
    });
    return [form];
  }

  past(run) {
    const parts = [];
    if (run.steps.length) {
      const list = element("ol", "", "steps");
      list.append(...run.steps.map((step) => {
        const item = element("li", stepWords(step));
        if (step.kept) {
          const back = button("Go back to it", () => this.act("back", { step: step.number }));
          back.setAttribute("aria-label", `Go back to it: step ${step.number + 1}`);
          item.append(back);
        }
        return item;
      }));
      parts.push(element("h3", "Steps"), list);
    }
    if (run.parent) {
      const line = element("p", "Branched off ", "hint");
      line.append(Object.assign(element("a", "an earlier piece"), { href: `#${encodeURIComponent(run.parent)}` }));
      parts.push(line);
    }
    if (run.commands.length) {
      const details = element("details");
      const pre = Object.assign(element("pre", run.commands.join("\n")), { tabIndex: 0 });
      details.append(element("summary", `Seed ${run.seed}, and the command that makes it again`), pre);
      parts.push(details);
    }
    if (run.audio.some((each) => each.final)) {
      const line = element("p");
      const page = element("a", "The listening page of this piece");
      Object.assign(page, { href: `/v1/runs/${encodeURIComponent(run.id)}/page/`, target: "_blank", rel: "noopener" });
      line.append(page);
      parts.push(line);
    }
    return parts;
  }

  focus() {
    panel.focus({ preventScroll: true });
    panel.scrollIntoView({ block: "start" });
  }
}

function sentence(run) {
  const { progress, remarks } = run;
  const notes = remarks.length && run.state !== "running" ? ` ${remarks.join(" ")}` : "";
  if (run.state === "queued") return run.place ? `Waiting: ${run.place} before it.` : "Waiting to begin.";
  if (run.state === "stopped") return "Stopped; everything sampled so far is kept.";
  if (run.state === "failed") return `It has failed.${notes}`;
  if (run.state === "finished") return `${clock(Math.round(run.seconds))}, finished.${notes}`;
  return progress.level === undefined ? "Beginning …" : `Sampling level ${progress.level}`;
}

/** How far it is, beside the sentence. */
function numbers({ state, progress }) {
  if (state !== "running" || progress.level === undefined) return "";
  const left = progress.seconds_left === null ? "" : `, ${duration(progress.seconds_left)} left`;
  return `: ${progress.seconds_done.toFixed(0)} of ${progress.seconds_total.toFixed(0)} s${left}.`;
}

function stepWords(step) {
  const labels = [step.artist, step.genre].filter(Boolean).join(", ");
  const what = {
    sample: `Sampled ${step.seconds} s`,
    continue: `Continued to ${step.seconds} s`,
    upsample: `Upsampled to level ${Math.min(...step.levels)}`,
    pick: `Kept candidate ${step.picked}`,
  }[step.action];
  const several = step.candidates > 1 && step.action !== "pick" ? `, ${step.candidates} candidates` : "";
  return what + several + (labels && step.action !== "pick" ? ` (${labels})` : "");
}

function number(title, name, value, min, step) {
  const label = element("label", `${title} `);
  label.append(Object.assign(document.createElement("input"), { type: "number", name, value, min, step, required: true }));
  return label;
}

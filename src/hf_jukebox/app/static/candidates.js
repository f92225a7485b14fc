// The candidates of a run: waveforms that grow, playing, picking, saving.

import { get } from "./api.js";
import { rebuild } from "./focus.js";
import { button, element } from "./labels.js";
import { isLoaded, isPlaying, play, position, seek, toggle } from "./player.js";
import { clock, drawWaveform } from "./waveform.js";

const SKIP = 2; // seconds, by an arrow
const waveforms = new Map(); // address of the audio to its peaks

/** The peaks of an audio, as far as there are any; those that are new are fetched. */
async function loadPeaks(run, audio, changed) {
  const known = waveforms.get(audio.url) ?? { peaks: [], final: false, loading: false, perSecond: 20 };
  waveforms.set(audio.url, known);
  const isBehind = known.peaks.length < (audio.seconds - 0.5) * known.perSecond || (audio.final && !known.final);
  if (known.loading || !isBehind) return;
  known.loading = true;
  try {
    const path = `/v1/runs/${encodeURIComponent(run.id)}/peaks/${audio.level}/${audio.item}`;
    const found = await get(`${path}?first=${known.peaks.length}`);
    known.peaks.push(...found.peaks);
    known.final = found.final;
    known.perSecond = found.per_second;
    // While it is sampled, the next state of the run asks again; while it is only decoded, there is none.
    if (found.growing && run.state !== "running") setTimeout(() => loadPeaks(run, audio, changed), 300);
  } catch {
    // the next state of the run brings another try
  } finally {
    known.loading = false;
  }
  changed();
}

export class Candidates {
  /** @param otherwise gets the focus if what had it is gone; @param pick keeps a candidate. */
  constructor(otherwise, pick) {
    this.otherwise = otherwise;
    this.element = element("ul", "", "candidates");
    this.pick = pick;
    this.cards = [];
    this.shape = "";
  }

  /** Show a run at a level; the cards are made anew only when others are needed, so that the focus stays. */
  show(run, level) {
    const before = { run: this.run, level: this.level, audios: this.audios };
    Object.assign(this, { run, level });
    this.audios = run.candidates.map((_, item) => run.audio.find((each) => each.item === item && each.level === level));
    const shape = JSON.stringify([run.id, run.steps.length, run.candidates, level, this.audios.map((audio) => audio?.url)]);
    if (shape !== this.shape) {
      const isSame = before.run?.id === run.id && before.run.steps.length === run.steps.length && before.level === level;
      this.shape = shape;
      this.cards = run.candidates.map((candidate, item) => this.card(candidate, item));
      rebuild(this.element, this.otherwise, () => this.element.replaceChildren(...this.cards.map((card) => card.element)));
      if (isSame) this.follow(before.audios); // a run that was stopped has other files
    }
    for (const audio of this.audios.filter(Boolean)) loadPeaks(run, audio, () => this.draw());
    this.draw();
  }

  card(candidate, item) {
    const audio = this.audios[item];
    const several = this.run.candidates.length > 1;
    const name = several ? `Candidate ${item}` : "The piece";
    const card = element("li", "", "candidate");
    const head = element("div", "", "row");
    const title = element("h3", name);
    const labels = [candidate.artist, candidate.genre].filter(Boolean).join(", ");
    head.append(title, element("span", labels, "labels"));
    const parts = { element: card, name };
    card.append(head);
    if (audio) {
      parts.canvas = element("canvas");
      parts.canvas.setAttribute("aria-hidden", "true");
      parts.seek = Object.assign(document.createElement("input"), { type: "range", min: 0, max: this.run.seconds, step: 0.01, value: 0 });
      parts.seek.setAttribute("aria-label", `Position in ${name}`);
      parts.seek.addEventListener("input", () => seek(audio.url, Number(parts.seek.value)));
      parts.seek.addEventListener("keydown", (event) => {
        const direction = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
        if (!direction || event.ctrlKey || event.metaKey || event.altKey) return;
        event.preventDefault(); // of one step of the bar, a hundredth of a second
        const end = this.audios[item].seconds; // it grows
        seek(audio.url, Math.max(0, Math.min(Number(parts.seek.value) + direction * SKIP, end)));
      });
      const wave = element("div", "", "wave");
      wave.append(parts.canvas, parts.seek);
      parts.play = button("Play", () => toggle(audio.url, true), "play");
      parts.play.dataset.key = `play ${item}`; // its name changes
      parts.time = element("time");
      const actions = element("div", "", "actions");
      actions.append(parts.play, parts.time);
      const after = element("div", "", "actions");
      if (several) after.append(button(`Keep candidate ${item}`, () => this.pick(item)));
      parts.save = element("a", "Save");
      parts.save.href = `${audio.url}&download=1`;
      parts.save.setAttribute("aria-label", `Save ${name}`);
      after.append(parts.save);
      const row = element("div", "", "row");
      row.append(actions, after);
      card.append(wave, row);
    } else {
      card.append(element("p", "Nothing to hear at this level yet.", "hint"));
    }
    return parts;
  }

  /** Continue at another level where this one was. */
  follow(before) {
    const item = before.findIndex((audio) => audio && isPlaying(audio.url));
    if (item >= 0 && this.audios[item] && this.audios[item].url !== before[item].url) play(this.audios[item].url, true);
  }

  draw() {
    this.cards.forEach((card, item) => {
      const audio = this.audios[item];
      if (!audio || !card.canvas) return;
      const playing = isPlaying(audio.url);
      const time = isLoaded(audio.url) ? position() : 0;
      card.element.classList.toggle("playing", playing);
      card.play.textContent = playing ? "Pause" : "Play";
      card.play.setAttribute("aria-label", `${card.play.textContent} ${card.name}`);
      card.time.textContent = `${clock(time)} / ${clock(Math.round(audio.seconds))}`;
      card.seek.value = time;
      card.seek.setAttribute("aria-valuetext", `${clock(time)} of ${clock(Math.round(this.run.seconds))}`);
      card.save.hidden = !audio.final;
      const wave = waveforms.get(audio.url);
      const { seconds, prompt_seconds: prompt } = this.run;
      drawWaveform(card.canvas, { peaks: wave?.peaks ?? [], perSecond: wave?.perSecond ?? 20, seconds, played: time, prompt });
    });
  }
}

"use strict";

// One card per candidate: its levels share a position, so that switching between them compares the same moment.
// Only one card plays at a time.

const NO_CHARACTER = 0xffff;
const SKIP = 2; // seconds

const timings = JSON.parse(document.getElementById("timing").textContent);
const samePlace = document.getElementById("same-place");
const SHORTEST_LOOP = 0.1; // seconds
let current = null; // the card that plays, or played last
let before = null; // the card that played before it

/** Lyrics whose words light up by the character that is sung at each code. */
class Lyrics {
  constructor(element, timing, seek) {
    const bytes = atob(timing.characters);
    this.characters = Uint16Array.from({ length: bytes.length / 2 }, (_, i) =>
      bytes.charCodeAt(2 * i) | (bytes.charCodeAt(2 * i + 1) << 8));
    this.codesPerSecond = timing.codesPerSecond;
    this.element = element;
    this.box = element.parentElement;
    this.word = null;
    this.split(element.textContent);
    element.addEventListener("click", (event) => {
      const word = event.target.closest(".word");
      const code = word ? this.characters.findIndex((c) => this.wordOf[c] === word) : -1;
      if (code >= 0) seek(code / this.codesPerSecond);
    });
  }

  /** Put each word into a span; the text between the words stays as it is. */
  split(text) {
    this.wordOf = new Array(text.length).fill(null);
    this.startOf = new Map();
    const parts = document.createDocumentFragment();
    let at = 0;
    for (const part of text.split(/(\s+)/)) {
      if (part.trim()) {
        const word = document.createElement("span");
        word.className = "word";
        word.textContent = part;
        this.wordOf.fill(word, at, at + part.length);
        this.startOf.set(word, at);
        parts.append(word);
      } else {
        parts.append(part);
      }
      at += part.length;
    }
    this.element.replaceChildren(parts);
  }

  show(time) {
    // The small amount compensates rounding, so that a time computed from a code lies in that code.
    const code = Math.min(Math.floor(time * this.codesPerSecond + 1e-6), this.characters.length - 1);
    const character = this.characters[code];
    this.element.dataset.code = code;
    if (this.element.dataset.character === String(character)) return;
    this.element.dataset.character = character;
    const word = character === NO_CHARACTER ? null : this.wordOf[character];
    if (this.word && this.word !== word) {
      this.word.classList.remove("sung");
      this.word.textContent = this.word.textContent;
    }
    if (word) this.mark(word, character - this.startOf.get(word));
    this.word = word;
  }

  mark(word, place) {
    const text = word.textContent;
    const mark = document.createElement("mark");
    mark.textContent = text[place];
    word.replaceChildren(text.slice(0, place), mark, text.slice(place + 1));
    if (word === this.word) return;
    word.classList.add("sung");
    const [top, height] = [word.offsetTop, this.box.clientHeight];
    if (top < this.box.scrollTop + height * 0.15 || top > this.box.scrollTop + height * 0.7) {
      this.box.scrollTop = top - height * 0.35;
    }
  }
}

class Card {
  constructor(element, timing) {
    this.element = element;
    this.audios = [...element.querySelectorAll("audio")];
    this.pictures = [...element.querySelectorAll(".picture")];
    this.radios = [...element.querySelectorAll(".levels input")];
    this.button = element.querySelector(".play");
    this.seekBar = element.querySelector(".seek");
    this.now = element.querySelector(".now");
    this.duration = Number(this.seekBar.max);
    this.stage = element.querySelector(".stage");
    this.loopButton = element.querySelector(".loop-button");
    this.loopMark = element.querySelector(".loop");
    this.loop = null; // { from, to } in seconds; `to` is null until it is chosen
    const prompt = element.querySelector(".prompt");
    this.promptEnd = prompt ? (Number.parseFloat(prompt.style.width) / 100) * this.duration : 0;
    this.index = this.audios.length - 1;
    const lyrics = element.querySelector(".lyrics");
    this.lyrics = timing && lyrics ? new Lyrics(lyrics, timing, (time) => this.seek(time)) : null;

    this.button.addEventListener("click", () => this.toggle());
    this.seekBar.addEventListener("input", () => this.seek(Number(this.seekBar.value)));
    this.loopButton.addEventListener("click", () => this.nextLoop());
    this.stage.addEventListener("mousedown", (event) => this.selectLoop(event));
    this.radios.forEach((radio, index) => radio.addEventListener("change", () => this.switchTo(index)));
    for (const audio of this.audios) {
      audio.removeAttribute("controls");
      for (const event of ["play", "pause", "ended"]) audio.addEventListener(event, () => this.update());
      for (const event of ["seeked", "timeupdate"]) audio.addEventListener(event, () => this.draw());
      audio.addEventListener("ended", () => this.repeat());
      audio.addEventListener("error", () => this.fail(audio));
    }
  }

  get audio() {
    return this.audios[this.index];
  }

  toggle() {
    if (this.audio.paused) this.play();
    else this.audio.pause();
  }

  play() {
    if (current !== this) {
      before = current;
      if (before) before.audio.pause();
      if (before && samePlace.checked) this.seek(Math.min(before.audio.currentTime, this.duration));
      current = this;
    }
    this.audio.play().catch(() => this.update()); // refused, or interrupted by a pause
  }

  seek(time) {
    this.audio.currentTime = Math.max(0, Math.min(time, this.duration));
    this.draw(this.audio.currentTime);
  }

  /** Begin a loop here, end it here, or remove it: whichever is next. */
  nextLoop() {
    const time = this.audio.currentTime;
    if (this.loop === null) this.setLoop(time, null);
    else if (this.loop.to === null) this.setLoop(...[this.loop.from, time].sort((a, b) => a - b));
    else this.setLoop(null);
  }

  setLoop(from, to) {
    this.loop = from === null || (to !== null && to - from < SHORTEST_LOOP) ? null : { from, to };
    const { loop, loopMark: mark, loopButton: button } = this;
    button.textContent = !loop ? "Loop from here" : loop.to === null ? "Loop to here" : "End the loop";
    button.setAttribute("aria-pressed", loop !== null && loop.to !== null);
    mark.hidden = !loop;
    if (!loop) return;
    mark.style.left = `${(100 * loop.from) / this.duration}%`;
    mark.style.width = `${(100 * ((loop.to ?? loop.from) - loop.from)) / this.duration}%`;
  }

  /** Select a loop by dragging over the picture with Shift. */
  selectLoop(event) {
    if (!event.shiftKey) return;
    event.preventDefault(); // it does not seek
    const { left, width } = this.stage.getBoundingClientRect();
    const timeAt = ({ clientX }) => Math.max(0, Math.min((clientX - left) / width, 1)) * this.duration;
    const start = timeAt(event);
    const move = (moved) => this.setLoop(...[start, timeAt(moved)].sort((a, b) => a - b));
    document.addEventListener("mousemove", move);
    document.addEventListener("mouseup", () => document.removeEventListener("mousemove", move), { once: true });
  }

  repeat() {
    if (!this.loop || this.loop.to === null) return;
    this.seek(this.loop.from);
    this.play();
  }

  switchTo(index) {
    if (index < 0 || index >= this.audios.length || index === this.index) return;
    const { paused, currentTime } = this.audio;
    this.audio.pause();
    this.index = index;
    this.radios[index].checked = true;
    this.pictures.forEach((picture, i) => (picture.hidden = i !== index));
    this.audio.currentTime = currentTime;
    if (!paused) this.play();
    this.draw(currentTime);
  }

  update() {
    const playing = !this.audio.paused;
    this.element.classList.toggle("playing", playing);
    this.button.setAttribute("aria-pressed", playing);
    if (playing) this.animate();
    else this.draw();
  }

  animate() {
    if (this.frame) return;
    const next = () => {
      this.draw();
      this.frame = this.audio.paused ? 0 : requestAnimationFrame(next);
    };
    this.frame = requestAnimationFrame(next);
  }

  draw(time = this.audio.currentTime) {
    if (this.loop && this.loop.to !== null && time >= this.loop.to && !this.audio.paused) {
      this.audio.currentTime = time = this.loop.from;
    }
    this.element.style.setProperty("--played", `${(100 * time) / this.duration}%`);
    this.seekBar.value = time;
    this.seekBar.setAttribute("aria-valuetext", `${clock(time)} of ${clock(Math.round(this.duration))}`);
    this.now.textContent = clock(time);
    if (this.lyrics) this.lyrics.show(time);
  }

  fail(audio) {
    const note = document.createElement("p");
    note.className = "note";
    note.textContent = `${decodeURI(audio.getAttribute("src"))} cannot be played: it must be in the folder of this page.`;
    this.element.append(note);
  }
}

function clock(seconds) {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

function show(card) {
  card.play();
  card.button.focus({ preventScroll: true });
  card.element.scrollIntoView({ block: "nearest" });
}

const cards = [...document.querySelectorAll(".card")].map((element, i) => new Card(element, timings[i]));

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
  const own = event.target.closest(".card");
  const card = cards.find((each) => each.element === own) ?? current ?? cards[0];
  const onButton = event.target.closest("button, summary, a, input:not(.seek)");
  const onLevel = event.target.matches(".levels input");
  if (event.key === " " && !onButton) card.toggle();
  else if (event.key === "ArrowLeft" && !onLevel) card.seek(card.audio.currentTime - SKIP);
  else if (event.key === "ArrowRight" && !onLevel) card.seek(card.audio.currentTime + SKIP);
  else if (event.key === "ArrowUp" && !onLevel) card.switchTo(card.index - 1);
  else if (event.key === "ArrowDown" && !onLevel) card.switchTo(card.index + 1);
  else if (event.key === "l") card.nextLoop();
  else if (event.key === "e" && card.promptEnd) card.seek(card.promptEnd);
  else if (event.key === "n" || event.key === "p") {
    show(cards[(cards.indexOf(card) + (event.key === "n" ? 1 : cards.length - 1)) % cards.length]);
  } else if (event.key === "b" && before) show(before);
  else return;
  event.preventDefault();
});

const command = document.querySelector(".command");
command?.querySelector("button").addEventListener("click", async (event) => {
  getSelection().selectAllChildren(command.querySelector("pre"));
  const done = await (navigator.clipboard?.writeText(getSelection().toString()) ?? Promise.reject()).then(
    () => true, () => document.execCommand("copy")); // the older way, where the page is not from a secure place
  event.target.textContent = done ? "Copied" : "Selected: copy it with your keys";
});

document.documentElement.classList.remove("no-script");

// Sound files are loaded after the page is shown; a missing one is reported before it is played.
window.addEventListener("load", () => {
  for (const card of cards) for (const audio of card.audios) audio.preload = "metadata";
});

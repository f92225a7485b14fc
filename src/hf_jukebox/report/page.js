// One card per candidate: its levels share a position, so that switching between them compares the same moment.
// Only one card plays at a time.

const SKIP = 2; // seconds

const timings = JSON.parse(document.getElementById("timing").textContent);
const samePlace = document.getElementById("same-place");
const SHORTEST_LOOP = 0.1; // seconds
let current = null; // the card that plays, or played last
let before = null; // the card that played before it

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
    note.textContent = `${pathOf(audio)} cannot be played: it must be in the folder of this page.`;
    this.element.append(note);
  }
}

/** The path of a file as it is named on the disk. */
function pathOf(audio) {
  const address = audio.getAttribute("src");
  try {
    return decodeURIComponent(address);
  } catch {
    return address; // a name that is not UTF-8
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
  // Arrows are those of the page, which scrolls, unless a player has the focus or, to the sides, one plays.
  const inPlayer = !onLevel && event.target.closest(".play, .seek") !== null;
  const isHeard = !onLevel && !card.audio.paused;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key; // also with Caps Lock
  if (key === " " && !onButton) {
    card.toggle();
    if (!own) card.button.focus({ preventScroll: true }); // where the next keys belong
  } else if (key === "ArrowLeft" && (inPlayer || isHeard)) card.seek(card.audio.currentTime - SKIP);
  else if (key === "ArrowRight" && (inPlayer || isHeard)) card.seek(card.audio.currentTime + SKIP);
  else if (key === "ArrowUp" && inPlayer && card.audios.length > 1) card.switchTo(card.index - 1);
  else if (key === "ArrowDown" && inPlayer && card.audios.length > 1) card.switchTo(card.index + 1);
  else if (key === "l") card.nextLoop();
  else if (key === "e" && card.promptEnd) card.seek(card.promptEnd);
  else if (key === "n" || key === "p") {
    show(cards[(cards.indexOf(card) + (key === "n" ? 1 : cards.length - 1)) % cards.length]);
  } else if (key === "b" && before) show(before);
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

// Lyrics whose words light up by the character that is sung at each code, and lead to where they are sung.

const NO_CHARACTER = 0xffff;

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
    this.codeOf = new Map(); // the code with which each word that is sung begins
    this.characters.forEach((character, code) => {
      const word = this.wordOf[character];
      if (word && !this.codeOf.has(word)) this.codeOf.set(word, code);
    });
    this.words = [...element.children].filter((word) => this.codeOf.has(word));
    element.addEventListener("click", (event) => {
      const code = this.codeOf.get(event.target.closest(".word"));
      if (code !== undefined) seek(code / this.codesPerSecond);
    });
    element.addEventListener("keydown", (event) => this.walk(event));
    this.stopAt(this.words[0]);
  }

  /** Make a word the one that Tab goes to. */
  stopAt(word) {
    if (this.stop) ["tabindex", "role"].forEach((name) => this.stop.removeAttribute(name));
    this.stop = word;
    word?.setAttribute("role", "button");
    word?.setAttribute("tabindex", "0");
  }

  /** From word to word by arrows, as in a text; Enter or space plays from there. */
  walk(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    const { words, stop } = this;
    const at = words.indexOf(stop);
    const far = (word) => Math.abs(word.offsetLeft - stop.offsetLeft);
    const nearest = (line) => words.filter((word) => word.offsetTop === line?.offsetTop).sort((a, b) => far(a) - far(b))[0];
    const found = {
      ArrowLeft: () => words[at - 1],
      ArrowRight: () => words[at + 1],
      ArrowUp: () => nearest(words.findLast((word) => word.offsetTop < stop.offsetTop)),
      ArrowDown: () => nearest(words.find((word) => word.offsetTop > stop.offsetTop)),
      Enter: () => stop.click(),
      " ": () => stop.click(),
    }[event.key];
    if (!found) return;
    event.preventDefault();
    event.stopPropagation(); // to the keys of the page
    const word = found();
    if (!word) return;
    this.stopAt(word);
    word.focus();
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

// What a program writes, as pieces of text with a style. Colours (SGR) are kept, everything else that would act on a terminal is
// shown as what it is: nothing that is written can hide, move or rename anything on the page.

const ESC = "\u001b";
const MAX_SEQUENCE = 64;
const COLOURS = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];
// The palette of 256 colours and true colours become the nearest of the sixteen, which can be read in both themes.
const RGB = [[0, 0, 0], [205, 0, 0], [0, 170, 0], [190, 140, 0], [0, 60, 220], [190, 0, 190], [0, 160, 180], [200, 200, 200]];
// Marks that turn the direction of text around, or have no width: with them a line may read as another one.
const UNSEEN = /[\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\u061c\u180e]/u;

/** A control character as a programmer would write it, such as \x1b. */
function picture(character) {
  const code = character.codePointAt(0).toString(16);
  return code.length > 2 ? `\\u${code.padStart(4, "0")}` : `\\x${code.padStart(2, "0")}`;
}

function isControl(character) {
  const code = character.codePointAt(0);
  return code < 0x20 || (code >= 0x7f && code < 0xa0) || (code > 0xff && UNSEEN.test(character));
}

/** A short text of a program (a name, a message) on one line, with nothing in it that cannot be seen. */
export function visible(text) {
  return [...text].map((character) => (isControl(character) ? picture(character) : character)).join("");
}

function nearest(r, g, b) {
  const distance = (colour) => colour.reduce((sum, value, index) => sum + (value - [r, g, b][index]) ** 2, 0);
  return COLOURS[RGB.reduce((best, colour, index) => (distance(colour) < distance(RGB[best]) ? index : best), 0)];
}

function ofPalette(number) {
  if (number < 16) return COLOURS[number % 8];
  if (number > 231) return nearest(...Array(3).fill((number - 232) * 10 + 8));
  const cube = number - 16;
  return nearest(...[36, 6, 1].map((step) => (Math.floor(cube / step) % 6) * 51));
}

/** One stream of a program. `terminal`: what moves the cursor is left out instead of shown. */
export class Ansi {
  #style = {};
  #rest = "";
  #terminal;

  constructor(terminal = false) {
    this.#terminal = terminal;
  }

  /** More text → [{text, classes}]. A sequence that is cut in the middle waits for its end. */
  push(text) {
    const all = this.#rest + text;
    this.#rest = "";
    const out = [];
    let plain = "";
    const say = (words, extra = "") => {
      if (plain) out.push({ text: plain, classes: this.#classes() });
      plain = "";
      if (words) out.push({ text: words, classes: extra });
    };
    for (let at = 0; at < all.length; ) {
      const character = String.fromCodePoint(all.codePointAt(at));
      if (character === ESC) {
        const sequence = /^\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[()][ -~]|[=>78cDEHMNOZ])/.exec(all.slice(at, at + 4096));
        if (sequence) {
          say("");
          if (/^\u001b\[[0-9;:]*m$/.test(sequence[0])) this.#select(sequence[0].slice(2, -1));
          else if (!this.#terminal) say(visible(sequence[0]), "ctl");
          at += sequence[0].length;
          continue;
        }
        if (all.length - at < MAX_SEQUENCE) {
          this.#rest = all.slice(at);
          break;
        }
      }
      if (character === "\r") {
        if (at + 1 === all.length) {
          this.#rest = character; // it may be half of a line's end
          break;
        }
        if (all[at + 1] !== "\n") say(this.#terminal ? "\n" : "\\r\n", "ctl");
      } else if (character === "\n" || character === "\t" || !isControl(character)) plain += character;
      else if (!(this.#terminal && character === "\u0007")) say(picture(character), "ctl");
      at += character.length;
    }
    say("");
    return out;
  }

  /** What was waiting for its end, which will not come. */
  end() {
    const rest = this.#rest.replace(/\r$/, "");
    this.#rest = "";
    return rest ? [{ text: visible(rest), classes: "ctl" }] : [];
  }

  #classes() {
    const style = this.#style;
    const names = ["bold", "dim", "italic", "underline", "strike", "reverse"].filter((name) => style[name]).map((name) => `s-${name}`);
    if (style.fg) names.push(`f-${style.fg}`);
    if (style.bg) names.push(`b-${style.bg}`);
    return names.join(" ");
  }

  #select(words) {
    const codes = words.split(/[;:]/).map((word) => Number(word || 0));
    for (let index = 0; index < codes.length; index += 1) {
      const code = codes[index];
      if (code === 38 || code === 48) {
        const name = code === 38 ? "fg" : "bg";
        if (codes[index + 1] === 5) this.#style[name] = ofPalette(Math.min(255, codes[index + 2] || 0));
        if (codes[index + 1] === 2) this.#style[name] = nearest(...[2, 3, 4].map((offset) => codes[index + offset] || 0));
        index += codes[index + 1] === 5 ? 2 : 4;
      } else this.#one(code);
    }
  }

  #one(code) {
    const style = this.#style;
    if (code === 0) this.#style = {};
    else if (code === 1) style.bold = true;
    else if (code === 2) style.dim = true;
    else if (code === 3) style.italic = true;
    else if (code === 4) style.underline = true;
    else if (code === 7) style.reverse = true;
    else if (code === 9) style.strike = true;
    else if (code === 22) style.bold = style.dim = false;
    else if (code === 23) style.italic = false;
    else if (code === 24) style.underline = false;
    else if (code === 27) style.reverse = false;
    else if (code === 29) style.strike = false;
    else if (code === 39) style.fg = "";
    else if (code === 49) style.bg = "";
    else if (code >= 30 && code <= 37) style.fg = COLOURS[code - 30];
    else if (code >= 40 && code <= 47) style.bg = COLOURS[code - 40];
    else if (code >= 90 && code <= 97) style.fg = COLOURS[code - 90];
    else if (code >= 100 && code <= 107) style.bg = COLOURS[code - 100];
  }
}

// The output as it comes: blocks of one stream each, in the order in which they came. Bounded, and painted once a frame, so that
// a program that writes without end does not stop the page.

import { Ansi } from "./ansi.js";
import { el } from "./dom.js";
import { bytes, count } from "./units.js";

const MOST = 256 * 1024; // characters that are kept
const MOST_LINES = 4000;
const PIECE = 8192; // the front is cut off in pieces of this size
const SPAN = 40; // what a change of colour costs the browser, in characters
const BLOCK = 200; // and a change of the stream
const NAMES = {
  "run stdout": ["stdout", ""],
  "run stderr": ["stderr", "stderr"],
  "compile stdout": ["stdout", "compiler"],
  "compile stderr": ["stderr", "compiler"],
  "run stdin": ["stdin", "you"],
};
const SPOKEN = { stderr: "standard error", compiler: "compiler", you: "your input" };

export class Output {
  #place;
  #queue = [];
  #queued = 0;
  #blocks = []; // {node, size, length, lines}
  #size = 0;
  #lines = 0;
  #streams = new Map();
  #painting = false;
  #dropped = 0;
  #note = null;
  #terminal = false;
  #last = "";
  #follow = true; // whether the end was in sight, and shall stay there

  /** `place`: the element that scrolls. */
  constructor(place) {
    this.#place = place;
    place.addEventListener("scroll", () => (this.#follow = place.scrollHeight - place.scrollTop - place.clientHeight < 40));
    new ResizeObserver(() => this.#toEnd()).observe(place);
  }

  #toEnd() {
    if (this.#follow) this.#place.scrollTop = this.#place.scrollHeight;
  }

  /** Empty again, for the next run. */
  clear(terminal = false) {
    this.#queue = [];
    this.#queued = this.#size = this.#lines = this.#dropped = 0;
    this.#blocks = [];
    this.#streams.clear();
    this.#note = null;
    this.#terminal = terminal;
    this.#last = "";
    this.#follow = true;
    this.written = 0;
    this.#place.replaceChildren();
  }

  /** Bytes of one stream of one stage. */
  write(stage, stream, data) {
    const key = `${stage} ${stream}`;
    if (!this.#streams.has(key)) this.#streams.set(key, { decoder: new TextDecoder(), ansi: new Ansi(this.#terminal) });
    this.written += data.length;
    this.#put(key, this.#streams.get(key).decoder.decode(data, { stream: true }));
  }

  /** What was typed, and left for the program. */
  typed(text) {
    if (!this.#streams.has("run stdin")) this.#streams.set("run stdin", { decoder: new TextDecoder(), ansi: new Ansi() });
    this.#put("run stdin", text);
  }

  /** Nothing more comes: what was waiting for its other half is shown. */
  end() {
    for (const [key, { decoder }] of this.#streams) this.#put(key, decoder.decode());
    this.#paint();
    for (const [key, { ansi }] of this.#streams) this.#show(key, ansi.end());
    this.#toEnd();
    if (!this.#blocks.length) this.#place.replaceChildren(el("p", { class: "empty" }, "The program wrote nothing."));
  }

  /** Everything that is kept, as text. */
  text() {
    this.#paint();
    return this.#blocks.map(({ node }) => node.lastElementChild.textContent).join("");
  }

  #put(key, text) {
    if (!text) return;
    this.#queue.push([key, text]);
    this.#queued += text.length;
    while (this.#queued - this.#queue[0][1].length > MOST) this.#forget(this.#queue.shift()[1].length);
    if (this.#painting) return;
    this.#painting = true;
    const once = () => this.#painting && this.#paint();
    requestAnimationFrame(once);
    setTimeout(once, 250); // a page that is not seen has no frames
  }

  #forget(length) {
    this.#queued -= length;
    this.#dropped += length;
  }

  #paint() {
    this.#painting = false;
    const queue = this.#queue;
    this.#queue = [];
    this.#queued = 0;
    for (const [key, text] of queue) this.#show(key, this.#streams.get(key).ansi.push(text));
    this.#cut();
    this.#toEnd();
  }

  #show(key, pieces) {
    for (const { text, classes } of pieces) {
      for (let at = 0; at < text.length; at += PIECE) {
        const part = text.slice(at, at + PIECE);
        const block = this.#block(key);
        block.node.lastElementChild.append(classes ? el("span", { class: classes }, part) : part);
        const lines = part.split("\n").length - 1;
        const cost = part.length + (classes ? SPAN : 0);
        block.size += cost;
        block.length += part.length;
        block.lines += lines;
        this.#size += cost;
        this.#lines += lines;
      }
    }
  }

  #block(key) {
    const last = this.#blocks.at(-1);
    const same = last && this.#last === key;
    if (same && last.size < PIECE) return last;
    const [stream, name] = NAMES[key];
    const goesOn = same && !last.node.lastElementChild.textContent.endsWith("\n");
    const tag = name && !same ? el("span", { class: "tag" }, el("span", { class: "unseen" }, `${SPOKEN[name]}: `), el("span", { "aria-hidden": "true" }, name)) : null;
    const node = el("div", { class: `block ${stream}${goesOn ? " goes-on" : ""}` }, tag, el("pre"));
    const block = { node, size: BLOCK, length: 0, lines: 0 };
    this.#size += BLOCK;
    if (!this.#blocks.length && !this.#note) this.#place.replaceChildren();
    this.#place.append(node);
    this.#blocks.push(block);
    this.#last = key;
    if (this.#size > 2 * MOST) this.#cut();
    return block;
  }

  #cut() {
    while (this.#blocks.length > 1 && (this.#size > MOST || this.#lines > MOST_LINES)) {
      const { node, size, length, lines } = this.#blocks.shift();
      node.remove();
      this.#size -= size;
      this.#lines -= lines;
      this.#dropped += length;
    }
    if (!this.#dropped) return;
    if (!this.#note) {
      this.#note = el("p", { class: "note" });
      this.#place.prepend(this.#note);
    }
    this.#note.textContent = `${count(this.#dropped, "character")} before this are not shown. The page keeps the last ${bytes(MOST)} of text.`;
  }
}

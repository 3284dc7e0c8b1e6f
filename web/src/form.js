// Everything on the page that makes up a program: language, text, input, arguments, profile, limits. It is kept as a draft.

import { words } from "./args.js";
import { byId, options } from "./dom.js";
import { Editor } from "./editor.js";
import { examplesOf } from "./examples.js";
import { draft } from "./session.js";
import { bytes, time } from "./units.js";

const LIMITS = { wall: ["wall_ns", time], cpu: ["cpu_ns", time], memory: ["memory_bytes", bytes], pids: ["pids", String], output: ["output_bytes", bytes] };
const KEEP_MS = 300;
const LETTER = 7.85; // width of one, at 13 px

/** How many letters the output has room for. */
function columns() {
  return Math.max(40, Math.min(200, Math.floor((byId("text").clientWidth - 32) / LETTER)));
}

/** A language with its version: "Python 3.11". */
function called({ name, version }) {
  const short = version.split(".").slice(0, 2).join(".");
  const [, plain, major] = /^(.*?) ?(\d*)$/.exec(name);
  return `${major && short.startsWith(`${major}.`) ? plain : name} ${short}`;
}

export class Form {
  #languages = [];
  #profiles = [];
  #codes = {};
  #timer = 0;
  #profile = "";
  #untested = false; // a link was taken before the server had said what it offers
  link = "";

  /** `onRun` with Ctrl+Enter in the editor, `onSay` with what a screen reader should hear. */
  constructor({ onRun, onSay }) {
    this.say = onSay;
    this.editor = new Editor(byId("editor"), { onRun, onChange: () => this.#later() });
    byId("language").addEventListener("change", (event) => this.#choose(event.target.value));
    byId("example").addEventListener("change", (event) => this.#example(Number(event.target.value)));
    byId("profile").addEventListener("change", () => {
      this.#profile = byId("profile").value;
      this.#describe();
    });
    for (const id of ["stdin", "args", "collect", ...Object.keys(LIMITS).map((name) => `limit-${name}`)]) byId(id).addEventListener("input", () => this.#later());
    for (const id of ["mode", "profile"]) byId(id).addEventListener("change", () => this.#later());
    addEventListener("pagehide", () => this.keep());
    const kept = draft.get();
    this.#codes = kept?.codes ?? {};
    this.link = kept?.link ?? "";
    if (kept) this.#fields(kept);
    this.editor.open(kept?.language ?? "", this.#codes[kept?.language ?? ""] ?? "");
    this.language = kept?.language ?? "";
    this.#profile = kept?.profile ?? "";
  }

  /** Whether something stands in the fields beside the program. */
  get hasInput() {
    const { stdin, args, collect, mode, limits } = this.state;
    return Boolean(stdin || args || collect || mode !== "given" || Object.keys(limits).length);
  }

  /** What the server offers; returns what it lacks of a link that was opened before. */
  offer(languages, profiles) {
    this.#languages = languages;
    this.#profiles = profiles;
    const missing = this.#untested ? this.#lacks({ language: this.language, profile: this.#profile }) : [];
    const here = languages.some(({ id }) => id === this.language);
    const first = languages.find(({ id }) => id === "python3") ?? languages[0];
    options(byId("language"), languages.map((language) => [language.id, called(language)]), here ? this.language : first?.id);
    options(byId("profile"), [["", "usual"], ...profiles.map(({ name }) => [name, name])], this.#profile);
    this.#profile = byId("profile").value;
    for (const id of ["language", "example", "profile"]) byId(id).disabled = false;
    if (here) this.#examples();
    else if (first && this.#untested) this.#show(first.id, this.editor.text);
    else if (first) this.#choose(first.id);
    this.#untested = false;
    this.#describe();
    return missing;
  }

  #lacks({ language, profile }) {
    const missing = [];
    if (this.#languages.length && !this.#languages.some(({ id }) => id === language)) missing.push(`the language ${language || "(none)"}`);
    if (this.#profiles.length && profile && !this.#profiles.some(({ name }) => name === profile)) missing.push(`the profile ${profile}`);
    return missing;
  }

  /** The state: as it is kept and shared. */
  get state() {
    const limits = {};
    for (const name of Object.keys(LIMITS)) {
      const text = byId(`limit-${name}`).value.trim();
      if (text) limits[name] = text;
    }
    return { language: this.language, code: this.editor.text, stdin: byId("stdin").value, args: byId("args").value, collect: byId("collect").value, profile: this.#profile, mode: byId("mode").value, limits };
  }

  /** Take a state from a link; returns what of it this server does not have. */
  take(state) {
    const missing = this.#lacks(state);
    this.#untested = !this.#languages.length;
    this.#remember();
    this.#fields(state);
    this.#profile = state.profile;
    if (this.#profiles.length) {
      options(byId("profile"), [...byId("profile").options].map(({ value, text }) => [value, text]), state.profile);
      this.#profile = byId("profile").value;
    }
    const language = missing.some((words) => words.startsWith("the language")) ? this.language : state.language;
    this.#show(language, state.code);
    this.#describe();
    return missing;
  }

  /** The body of a run. Raises Error with words for the user. */
  body() {
    const state = this.state;
    const out = { language: state.language, code: state.code, stdin: state.stdin, args: words(state.args), collect: words(state.collect), profile: state.profile, limits: { ...state.limits } };
    if (out.limits.pids && /^\d+$/.test(out.limits.pids)) out.limits.pids = Number(out.limits.pids);
    if (state.mode === "terminal") {
      out.tty = { rows: 24, columns: columns() };
      out.env = { TERM: "xterm-256color" };
    }
    return out;
  }

  /** Keep the draft now. */
  keep() {
    this.#remember();
    const { code: _, ...rest } = this.state;
    draft.set({ ...rest, codes: this.#codes, link: this.link });
  }

  #later() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.keep(), KEEP_MS);
  }

  #remember() {
    if (this.language || this.editor.text) this.#codes[this.language] = this.editor.text;
  }

  #fields(state) {
    byId("stdin").value = state.stdin ?? "";
    byId("args").value = state.args ?? "";
    byId("collect").value = state.collect ?? "";
    if (state.stdin || state.args || state.collect || Object.keys(state.limits ?? {}).length) byId("input-parts").open = true;
    byId("mode").value = ["given", "typed", "terminal"].includes(state.mode) ? state.mode : "given";
    for (const name of Object.keys(LIMITS)) byId(`limit-${name}`).value = state.limits?.[name] ?? "";
  }

  #choose(id) {
    this.#remember();
    const first = examplesOf(id)[0];
    this.#show(id, this.#codes[id] ?? first?.code ?? "");
    this.say(`${byId("language").selectedOptions[0]?.text ?? id}`);
  }

  #show(id, code) {
    this.language = id;
    byId("language").value = id;
    this.editor.open(id, code);
    this.#examples();
    this.#later();
  }

  #examples() {
    const found = examplesOf(this.language);
    options(byId("example"), [["", found.length ? "choose…" : "none"], ...found.map(({ title }, index) => [String(index), title])], "");
  }

  #example(index) {
    const example = examplesOf(this.language)[index];
    if (!example) return;
    this.editor.replace(example.code);
    this.#fields({ stdin: example.stdin, limits: example.limits, mode: example.talks ? "typed" : "given", collect: example.collect });
    byId("example").value = "";
    this.#later();
    this.say(`Example: ${example.title}. Undo brings your program back.`);
  }

  #describe() {
    const profile = this.#profiles.find(({ name }) => name === byId("profile").value);
    byId("profile-words").textContent = profile ? `of ${profile.name}: ${profile.description}` : "where they shall be lower than the profile's";
    for (const [name, [field, show]] of Object.entries(LIMITS)) {
      byId(`limit-${name}`).placeholder = profile ? show(profile.limits[field]) : { wall: "such as 2s", cpu: "1s", memory: "64MiB", pids: "16", output: "64KiB" }[name];
    }
  }
}

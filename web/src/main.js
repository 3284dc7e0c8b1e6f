// The page: what the parts say to each other.

import { visible } from "./ansi.js";
import { Run, Trouble, get } from "./api.js";
import { TokenDialog, showLink } from "./dialogs.js";
import { byId, el } from "./dom.js";
import { Form } from "./form.js";
import { linesIn } from "./marks.js";
import { Output } from "./output.js";
import * as result from "./result.js";
import * as session from "./session.js";
import { BadLink, isLink, pack, unpack } from "./share.js";
import { splitter } from "./split.js";
import { bytes } from "./units.js";
import * as words from "./words.js";

const MOST_RUNS = 40;
const THEMES = { "": "system", light: "light", dark: "dark" };
const NARROW = matchMedia("(max-width: 900px)");
const STAGES = { compile: "Compiling…", run: "Running…" };

const form = new Form({ onRun: () => start(), onSay: (text) => say(text) });
const output = new Output(byId("text"));
const dialog = new TokenDialog(useToken, forgetToken);
let run = null;
let ready = false;
let began = 0;
let ticking = 0;

function say(text) {
  byId("status").textContent = text;
}

function notice(text) {
  byId("notice").hidden = !text;
  byId("notice").firstElementChild.textContent = text;
}

// Runs

function start() {
  if (run || !ready) return;
  let body;
  try {
    body = form.body();
  } catch (error) {
    say(`Not run: ${error.message}`);
    byId("args").focus();
    return;
  }
  form.keep();
  notice("");
  form.editor.mark([]);
  const { mode } = form.state;
  output.clear(mode === "terminal");
  byId("parts").replaceChildren(el("p", { class: "empty" }, "The result appears when the program has ended."));
  const mine = new Run(body, session.token.get(), {
    stage: (name) => {
      say(STAGES[name] ?? name);
      if (name === "run") talk(mode);
    },
    output: (stage, stream, data) => output.write(stage, stream, data),
    result: (answer) => finished(answer),
    trouble: (trouble) => failed(trouble),
  });
  run = mine;
  if (mode === "given") run.eof();
  busy(true);
  say("Waiting for its turn…");
  if (NARROW.matches) byId("output").scrollIntoView({ block: "start" });
}

function talk(mode) {
  byId("typing").hidden = mode === "given";
  byId("interrupt").hidden = mode !== "terminal";
  for (const part of byId("typing").elements) part.disabled = false;
  if (mode !== "given") byId("line").focus();
}

function busy(now) {
  byId("run").disabled = now || !ready;
  byId("stop").disabled = !now;
  document.body.classList.toggle("busy", now);
  began = performance.now();
  clearInterval(ticking);
  byId("clock").textContent = "";
  if (now) ticking = setInterval(() => (byId("clock").textContent = `${((performance.now() - began) / 1000).toFixed(1)} s`), 100);
}

function ended() {
  const typing = byId("typing").contains(document.activeElement);
  run = null;
  busy(false);
  byId("typing").hidden = true;
  byId("copy").disabled = false;
  if (typing || document.activeElement === byId("stop") || document.activeElement === document.body) byId("run").focus();
}

function finished(answer) {
  output.end();
  ended();
  const runs = session.runs.get();
  if (answer.run) {
    const { usage } = answer.run;
    const { kind, title } = words.outcome(answer.run);
    runs.push({ number: (runs.at(-1)?.number ?? 0) + 1, language: answer.language, title, kind, wall: usage.wall_ns, cpu: usage.cpu_user_ns + usage.cpu_system_ns, memory: usage.memory_peak_bytes });
    session.runs.set(runs.slice(-MOST_RUNS));
  }
  result.show(byId("parts"), answer, runs.slice(-MOST_RUNS));
  const lines = linesIn(answer.run ? answer.run.stderr : answer.compile.stderr);
  if (!answer.run || answer.run.outcome !== "exited" || answer.run.exit.code !== 0) mark(lines);
  const wrote = output.written ? `, ${bytes(output.written)} of output` : ", no output";
  say(`${words.summary(answer)}${answer.run ? wrote : ""}.`);
}

function mark(lines) {
  form.editor.mark(lines);
  if (!lines.length) return;
  const buttons = lines.slice(0, 8).map(({ line, column, message }) => el("li", {}, el("button", { type: "button", class: "small", onclick: () => form.editor.goTo(line, column) }, `Line ${line}`), ` ${visible(message)}`));
  byId("parts").querySelector(".banner").after(el("ul", { class: "lines" }, buttons));
}

function failed(trouble) {
  output.end();
  ended();
  result.fail(byId("parts"), trouble);
  const { title } = words.trouble(trouble);
  say(`${title}.`);
  if (trouble.status === 401 || trouble.code === "unauthorized") dialog.open(session.token.get() ? "This token is not known any more." : "");
}

// The server, and the token that it may want

async function connect() {
  const token = session.token.get();
  const languages = await get("/v1/languages", token); // one after the other: a wrong token is counted once
  const profiles = await get("/v1/profiles", token);
  if (!languages.length) throw new Trouble({ code: "none", status: 500, message: "this server has no compiler and no interpreter", hint: "its operator installs them where its profiles look" });
  const missing = form.offer(languages, profiles);
  if (missing.length) notice(cameWithLink(missing));
  ready = true;
  byId("run").disabled = run !== null;
  byId("run").title = "Ctrl+Enter";
}

async function begin() {
  say("Asking the server…");
  try {
    const { version } = await get("/v1/health", "");
    byId("version").textContent = version;
    await connect();
    say("Ready.");
  } catch (trouble) {
    if (!(trouble instanceof Trouble)) throw trouble;
    offline(trouble);
  }
}

function offline(trouble) {
  ready = false;
  if (trouble.status === 401) {
    byId("key").hidden = false;
    const had = session.token.get();
    session.token.set("");
    say("This server wants a token.");
    dialog.open(had ? "The token of this tab is not known any more." : "");
    return;
  }
  if (session.token.get()) byId("key").hidden = false;
  const { title, text } = words.trouble(trouble);
  say(`${title}.`);
  const again = el("button", { type: "button", onclick: () => begin() }, "Try again");
  result.fail(byId("parts"), trouble);
  byId("parts").append(again);
  return text;
}

async function useToken(token) {
  if (!/^[\x21-\x7e]+$/.test(token)) return "This is no token: it has blanks or letters that no token has.";
  const before = session.token.get();
  session.token.set(token);
  try {
    await connect();
  } catch (trouble) {
    session.token.set(before);
    const { title, text } = words.trouble(trouble);
    return `${title}. ${text}`;
  }
  byId("key").hidden = false;
  byId("parts").replaceChildren();
  say("Ready.");
  form.editor.focus();
  return "";
}

function forgetToken() {
  session.token.set("");
  ready = false;
  byId("run").disabled = true;
  say("The token is forgotten.");
}

// Links

function cameWithLink(missing) {
  return `This program came with the link. Look at it before you run it.${missing.length ? ` This server does not have ${missing.join(" and ")}.` : ""}`;
}

async function share() {
  let fragment;
  try {
    fragment = await pack(form.state);
  } catch (error) {
    if (!(error instanceof BadLink)) throw error;
    say(`No link: ${error.message}.`);
    return;
  }
  history.replaceState(null, "", fragment);
  form.link = fragment;
  form.keep();
  const copied = await showLink(location.href);
  say(copied ? "The link is copied." : "The link is in the field.");
}

async function openLink() {
  const fragment = location.hash;
  if (fragment === "#program" || !isLink(fragment) || fragment === form.link) return; // a reload keeps what was typed since
  try {
    const missing = form.take(await unpack(fragment));
    form.link = fragment;
    form.keep();
    notice(cameWithLink(missing));
  } catch (error) {
    if (!(error instanceof BadLink)) throw error;
    notice(`The link cannot be opened: ${error.message}. Your own program is still here.`);
  }
}

// Colours

function paint(name) {
  session.theme.set(name);
  if (name) document.documentElement.dataset.theme = name;
  else delete document.documentElement.dataset.theme;
  byId("theme").querySelector("span").textContent = byId("theme").title = `Colours: ${THEMES[name]}`;
}

// Keys and buttons

byId("run").addEventListener("click", start);
byId("stop").addEventListener("click", () => stop());
byId("share").addEventListener("click", share);
byId("key").addEventListener("click", () => dialog.open());
byId("theme").addEventListener("click", () => {
  const names = Object.keys(THEMES);
  paint(names[(names.indexOf(session.theme.get()) + 1) % names.length]);
});
byId("copy").addEventListener("click", async () => {
  const done = await navigator.clipboard?.writeText(output.text()).then(() => true, () => false);
  say(done ? "The output is copied." : "The browser did not let the page copy.");
});
byId("notice").lastElementChild.addEventListener("click", () => notice(""));
byId("typing").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = `${byId("line").value}\n`;
  byId("line").value = "";
  if (form.state.mode !== "terminal") output.typed(text);
  run?.stdin(text);
});
byId("eof").addEventListener("click", () => {
  if (form.state.mode === "terminal") run?.stdin("\u0004");
  else {
    run?.eof();
    for (const part of byId("typing").elements) part.disabled = true;
    byId("stop").focus();
  }
});
byId("interrupt").addEventListener("click", () => run?.signal("SIGINT"));

function stop() {
  if (!run) return;
  say("Stopping…");
  run.stop();
}

addEventListener("keydown", (event) => {
  const control = event.ctrlKey || event.metaKey;
  const inDialog = document.querySelector("dialog[open]") !== null;
  if (event.key === "Enter" && control && !inDialog && !event.defaultPrevented) {
    event.preventDefault();
    start();
  } else if (event.key === "." && control) {
    event.preventDefault();
    stop();
  } else if (event.key === "Escape" && !inDialog && !event.defaultPrevented && event.target.id !== "editor") stop();
});
addEventListener("hashchange", openLink);
addEventListener("beforeunload", () => form.keep());

paint(session.theme.get());
splitter(byId("split-columns"), "columns", { horizontal: true });
splitter(byId("split-rows"), "rows", { horizontal: false });
byId("input-parts").open = !NARROW.matches || form.hasInput;
await begin();
await openLink();

import assert from "node:assert/strict";
import { test } from "node:test";
import { Ansi } from "../src/ansi.js";

const shown = (text, terminal = false) => {
  const ansi = new Ansi(terminal);
  return [...ansi.push(text), ...ansi.end()];
};
const textOf = (pieces) => pieces.map(({ text }) => text).join("");

test("colours become classes, and end", () => {
  assert.deepEqual(shown("a\u001b[1;31mb\u001b[0mc"), [
    { text: "a", classes: "" },
    { text: "b", classes: "s-bold f-red" },
    { text: "c", classes: "" },
  ]);
});

test("bright, palette and true colours become one of the sixteen", () => {
  for (const sequence of ["91", "38;5;196", "38;2;250;10;10", "38:5:9"]) assert.equal(shown(`\u001b[${sequence}mx`)[0].classes, "f-red", sequence);
  assert.equal(shown("\u001b[48;5;21mx")[0].classes, "b-blue");
});

test("what acts on a terminal is shown, not done", () => {
  assert.equal(textOf(shown("\u001b[2J\u001b[H")), "\\x1b[2J\\x1b[H");
  assert.equal(textOf(shown("\u001b]0;title\u0007")), "\\x1b]0;title\\x07");
  assert.equal(textOf(shown("a\bb\u0000\u007f\u009b")), "a\\x08b\\x00\\x7f\\x9b");
  assert.equal(textOf(shown("if (admin \u202e{ \u2066")), "if (admin \\u202e{ \\u2066");
});

test("on a terminal what moves the cursor is left out", () => {
  assert.equal(textOf(shown("\u001b[?2004h$ \u001b[Kls\u0007\r\n", true)), "$ ls\n");
});

test("a line that is written over begins a new one", () => {
  assert.equal(textOf(shown("10%\r20%\r\nend")), "10%\\r\n20%\nend");
});

test("a sequence may come in pieces", () => {
  const ansi = new Ansi();
  assert.deepEqual([..."\u001b[32mgo\u001b[m\r\n!"].flatMap((character) => ansi.push(character)), [
    { text: "g", classes: "f-green" },
    { text: "o", classes: "f-green" },
    { text: "\n", classes: "" },
    { text: "!", classes: "" },
  ]);
  assert.deepEqual(ansi.end(), []);
});

test("a sequence without an end is shown when it is over, and never waited for long", () => {
  assert.equal(textOf(shown("\u001b[3")), "\\x1b[3");
  const ansi = new Ansi();
  assert.equal(textOf(ansi.push(`\u001b]${"x".repeat(10_000)}`)).length, 10_005);
});

test("whatever comes, no control character is left", () => {
  let seed = 7;
  const next = (below) => (seed = (seed * 1103515245 + 12345) % 2147483648) % below;
  const alphabet = ["\u001b", "[", "]", "m", "3", ";", "1", "\u0007", "\r", "\n", "\u009b", "\u0000", "a", "\u202e", "\\", "38;5;", "😀"];
  for (let round = 0; round < 3000; round += 1) {
    const ansi = new Ansi(round % 2 === 0);
    let out = "";
    for (let piece = 0; piece < 4; piece += 1) out += textOf(ansi.push(Array.from({ length: next(9) }, () => alphabet[next(alphabet.length)]).join("")));
    out += textOf(ansi.end());
    assert.ok(!/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202e]/.test(out), JSON.stringify(out));
  }
});

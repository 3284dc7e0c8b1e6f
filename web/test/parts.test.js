import assert from "node:assert/strict";
import { test } from "node:test";
import { words } from "../src/args.js";
import { examplesOf } from "../src/examples.js";
import { linesIn } from "../src/marks.js";
import { BadLink, pack, unpack } from "../src/share.js";
import { bytes, count, time } from "../src/units.js";
import { denials, outcome, trouble } from "../src/words.js";

test("arguments are read as by a shell", () => {
  assert.deepEqual(words(` a "b c" 'd "e' f\\ g "" x"y"z "\\"" `), ["a", "b c", 'd "e', "f g", "", "xyz", '"']);
  assert.deepEqual(words("  "), []);
  assert.throws(() => words("'open"), /no end/);
});

test("figures can be read", () => {
  assert.equal(bytes(0), "0 B");
  assert.equal(bytes(1536), "1.5 KiB");
  assert.equal(bytes(512 << 20), "512 MiB");
  assert.equal(time(999), "999 ns");
  assert.equal(time(12_345_678), "12.3 ms");
  assert.equal(time(2e9), "2 s");
  assert.equal(count(1, "byte"), "1 byte");
  assert.equal(count(2000, "byte"), "2,000 bytes");
});

const SKIP = (() => {
  try {
    return new CompressionStream("deflate-raw") && false;
  } catch {
    return "this node has no deflate-raw; the tests in a browser have it";
  }
})();

const STATE = { language: "cpp", code: "int main() {}\n// ü 😀", stdin: "1\n", args: "-x 'a b'", collect: "*.png", profile: "strict", mode: "typed", limits: { wall: "2s" } };

test("a link holds a program, and gives it back", { skip: SKIP }, async () => {
  const fragment = await pack(STATE);
  assert.match(fragment, /^#s1\.[A-Za-z0-9_-]+$/);
  assert.deepEqual(await unpack(fragment), STATE);
  assert.ok((await pack({ ...STATE, code: "x = 1\n".repeat(50_000) })).length < 5000);
});

test("a program that is too large makes no link", { skip: SKIP }, async () => {
  const noise = Array.from({ length: 400_000 }, (_, index) => String.fromCharCode(33 + ((index * index * 7919 + index * 31) % 4093) % 90)).join("");
  await assert.rejects(pack({ ...STATE, code: noise + crypto.randomUUID().repeat(20_000) }), BadLink);
});

async function packed(text) {
  const stream = new Blob([text]).stream().pipeThrough(new CompressionStream("deflate-raw"));
  return `#s1.${Buffer.from(await new Response(stream).arrayBuffer()).toString("base64url")}`;
}

test("links that somebody made are refused with a reason", { skip: SKIP }, async () => {
  const bad = [
    "#", "#s1.", "#s1.%%%", "#s1.AAAA", "#s2.abc", "#<script>", `#s1.${"A".repeat(300_000)}`,
    await packed("null"), await packed("[]"), await packed("{"), await packed('{"code": 1}'), await packed('{"language": "<b>"}'),
    await packed('{"limits": {"wall": {}}}'), await packed('{"limits": {"wall": "1; x"}}'), await packed("\u00ff".repeat(2_000_000)),
    await packed(" ".repeat(50_000_000)), // a bomb: 50 kB that unpack to 50 MB
  ];
  for (const fragment of bad) await assert.rejects(unpack(fragment), BadLink, fragment.slice(0, 60));
  assert.equal((await unpack(await packed('{"mode": "x", "more": 1, "__proto__": {"a": 1}}'))).mode, "given");
});

test("lines that compilers and tracebacks name", () => {
  const found = (text) => linesIn(text).map(({ line, column, message }) => [line, column, message]);
  assert.deepEqual(found("main.cc: In function 'int main()':\nmain.cc:4:28: error: no\nmain.cc:5:1: warning: hm\nmain.cc:4:2: error: again"), [[4, 28, "no"]]);
  assert.deepEqual(found('Traceback (most recent call last):\n  File "/w/main.py", line 3, in <module>\nZeroDivisionError: division by zero\n'), [[3, 0, "ZeroDivisionError: division by zero"]]);
  const frames = [2, 9, 4].map((line) => `  File "/w/main.py", line ${line}, in f\n`).join("");
  assert.deepEqual(found(`${frames}ValueError: no`), [[2, 0, "leads to it"], [4, 0, "ValueError: no"], [9, 0, "leads to it"]]);
  assert.deepEqual(found("Main.java:7: error: ';' expected"), [[7, 0, "';' expected"]]);
  assert.deepEqual(found("main.pas(3,5) Error: Identifier not found"), [[3, 5, "Identifier not found"]]);
  assert.deepEqual(found("Died at main.pl line 12."), [[12, 0, "Died at main.pl line 12."]]);
  assert.deepEqual(found("main.rb:2:in `foo': undefined"), [[2, 0, "in `foo': undefined"]]);
  assert.deepEqual(found("nothing here, 12:30"), []);
  assert.equal(linesIn(Array.from({ length: 500 }, (_, n) => `main.c:${n + 1}:1: error: x`).join("\n")).length, 50);
});

const run = (more) => ({
  outcome: "exited", exit: { code: 1 }, stderr: "", evidence: [],
  enforced: { network: "none", landlock: { tcp: true }, limits: { wall_ns: 2e9, scratch_bytes: 1 << 26, cpu_ns: 1e9, memory_bytes: 1 << 28, pids: 16, output_bytes: 1 << 20, idle_ns: 1e9 } },
  ...more,
});

test("every outcome has words", () => {
  const all = "exited signaled cpu_time wall_time idle_time memory pids output disk denied_syscall canceled".split(" ");
  for (const name of all) assert.ok(outcome(run({ outcome: name, exit: name === "signaled" ? { signal: 11, name: "SIGSEGV" } : { code: 1 } })).detail, name);
  assert.equal(outcome(run({ exit: { code: 0 } })).kind, "good");
});

test("what is sure of a denial comes from the evidence, the rest is called probable", () => {
  const [sure] = denials(run({ outcome: "denied_syscall", evidence: [{ source: "seccomp", key: "mount", value: 1 }] }));
  assert.ok(sure.sure && sure.title.includes("mount"));
  assert.match(denials(run({ outcome: "denied_syscall", evidence: [{ source: "seccomp", key: "killed_on", value: "ptrace" }] }))[0].title, /ptrace ended it/);
  assert.equal(denials(run({ outcome: "denied_syscall", stderr: "Operation not permitted", evidence: [{ source: "seccomp", key: "mount", value: 1 }] })).length, 1);
  const [network] = denials(run({ stderr: "sock.connect(sa)\nPermissionError: [Errno 13] Permission denied" }));
  assert.ok(!network.sure && /network/.test(network.title));
  assert.deepEqual(denials(run({ exit: { code: 0 }, stderr: "Permission denied" })), []);
  assert.deepEqual(denials(run({ stderr: "ValueError: no" })), []);
});

test("every error says what to do", () => {
  const codes = "unauthorized locked_out forbidden gone queue_full queue_timeout tenant_busy draining sockets bodies too_slow too_large canceled internal other".split(" ");
  for (const code of codes) {
    const { title, text } = trouble({ code, status: 400, message: "the message", hint: "the hint", requestId: "id1", retryAfter: "7" });
    assert.ok(title && text, code);
  }
  assert.match(trouble({ code: "locked_out", retryAfter: "7" }).text, /7 seconds/);
  assert.match(trouble({ code: "policy", status: 400, message: "no", hint: "less" }).text, /^No\. Hint: less\.$/);
  assert.match(trouble({ code: "internal", requestId: "abc" }).text, /abc/);
});

test("every language has its first program", () => {
  for (const name of "bash c cpp csharp go haskell java javascript kotlin lua ocaml pascal perl php prolog pypy3 python3 ruby rust typescript".split(" ")) {
    assert.ok(examplesOf(name)[0]?.code.length > 10, name);
  }
  assert.deepEqual(examplesOf("constructor"), []);
});

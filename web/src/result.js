// A result: how it ended, why that is known, what was used, what was enforced.

import { el, icon } from "./dom.js";
import { files } from "./files.js";
import { meters, past, phases } from "./plot.js";
import { bytes, count, time } from "./units.js";
import * as words from "./words.js";

const ICONS = {
  good: "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1zm3.7 5.2-4.5 5a.8.8 0 0 1-1.1 0L4.2 9.3l1.1-1.1 1.3 1.3 4-4.4z",
  note: "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1zm-.9 3h1.8v5.2H7.1zM7.1 10.5h1.8v1.7H7.1z",
  bad: "M5 1h6l4 4v6l-4 4H5l-4-4V5zm.6 3.5L4.5 5.6 6.9 8l-2.4 2.4 1.1 1.1L8 9.1l2.4 2.4 1.1-1.1L9.1 8l2.4-2.4-1.1-1.1L8 6.9z",
};

function section(title, ...content) {
  return el("section", { class: "part" }, el("h3", {}, title), content);
}

function banner({ kind, title, detail }, more = []) {
  return el("div", { class: `banner ${kind}` }, icon(ICONS[kind]), el("div", {}, el("p", { class: "title" }, title), detail && el("p", {}, detail), more));
}

function evidence(run) {
  const rows = run.evidence.map((item) =>
    el("tr", {}, el("td", {}, el("code", {}, item.source), " ", el("code", {}, item.key)), el("td", { class: "number" }, words.figure(item)), el("td", { class: "quiet" }, words.evidence(item))),
  );
  const head = ["Who says what", "Value", "In words"].map((text) => el("th", { scope: "col" }, text));
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Evidence" }, el("table", { class: "evidence" }, el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows)));
}

function user({ uid, id_map: map, host_uids: [first, most], groups }) {
  const outside = map === "single" ? `the service's own uid ${first}` : `one of ${count(most, "id")} from ${first}, its own while it runs`;
  return `uid ${uid} inside; on the host ${outside}${groups === "kept" ? "; the groups of the service stay in force" : ""}`;
}

const STATES = { on: "✓ enforced", weak: "▲ weaker", given: "– not asked for" };

function layers({ enforced, degraded }) {
  const { identity, seccomp, landlock, rootfs, cgroup, limits } = enforced;
  const off = "not on this kernel";
  const given = (so) => (so ? "given" : "on");
  return [
    ["Namespaces", enforced.namespaces.join(", ")],
    ["User", user(identity)],
    ["Capabilities", enforced.capabilities.length ? enforced.capabilities.join(", ") : "none, and none can be had (no_new_privs)", given(enforced.capabilities.length)],
    ["System calls", `a filter of ${count(seccomp.instructions, "instruction")}${seccomp.notify_sha256 ? ", and one that records" : ""}`],
    ["Landlock", landlock.abi ? `version ${landlock.abi}: ${[landlock.filesystem && "files", landlock.tcp && "TCP", landlock.scoped && "signals and sockets"].filter(Boolean).join(", ")}` : off, landlock.abi ? "on" : "weak"],
    ["Files", `${rootfs.kind === "selected" ? "a root of its own with selected places" : "a directory"}, ${rootfs.read_only ? "read-only" : "writable"}, ${count(rootfs.mounts, "mount")} of the host${rootfs.writable_mounts.length ? `, of which writable: ${rootfs.writable_mounts.join(", ")}` : ""}`, given(!rootfs.read_only)],
    ["Hidden below /proc", `${count(enforced.masked_paths.length, "path")} masked, ${enforced.readonly_paths.length} read-only`],
    ["Network", enforced.network === "none" ? "none" : "a loopback of its own"],
    ["Control group", cgroup ? `version ${cgroup.version}: ${cgroup.controllers.join(", ")}` : "none", cgroup ? "on" : degraded.length ? "weak" : "given"],
    ["Further limits", `${count(limits.open_files, "open file")}, ${bytes(limits.scratch_bytes)} of scratch, files of ${bytes(limits.file_bytes)}, stack of ${bytes(limits.stack_bytes)}`],
    ["Read back", enforced.read_back?.length ? `the kernel was asked again for ${enforced.read_back.join(", ")}` : "nothing", given(!enforced.read_back?.length)],
  ].map(([name, text, state = "on"]) => el("tr", { class: state }, el("th", { scope: "row" }, name), el("td", {}, STATES[state]), el("td", {}, text)));
}

function enforced(run) {
  const head = ["Layer", "State", "What it is"].map((text) => el("th", { scope: "col" }, text));
  const weaker = run.degraded.map((item) =>
    el("tr", { class: "weak" }, el("th", { scope: "row" }, item.control), el("td", {}, "▲ weaker"), el("td", {}, `${item.stand_in}; ${item.consequence}`)),
  );
  const rows = [...weaker, ...layers(run)];
  return el(
    "details",
    { class: "part", open: run.degraded.length > 0 },
    el("summary", {}, el("h3", {}, "What was enforced"), el("span", { class: "quiet" }, run.degraded.length ? `${count(run.degraded.length, "control")} weaker than the profile asks for` : "all that the profile asks for")),
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "What was enforced" }, el("table", { class: "layers" }, el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows))),
    el("p", { class: "quiet digest" }, "Plan ", el("code", {}, run.plan_digest.slice(0, 16)), "… Equal digests mean equal policies on equal hosts."),
  );
}

function denials(run) {
  const found = words.denials(run);
  if (!found.length) return null;
  return el("ul", { class: "denials" }, found.map(({ sure, title, text }) => el("li", {}, el("b", {}, `${sure ? "" : "Probably: "}${title}. `), text)));
}

function compiler(stage) {
  if (!stage) return null;
  const took = stage.result ? `${time(stage.result.usage.wall_ns)}, ${bytes(stage.result.usage.memory_peak_bytes)}` : "kept from before: the same sources were compiled already";
  return section("Compiler", el("p", { class: "quiet" }, stage.ok ? `It made a program (${took}).` : `${took}.`));
}

/** The whole result. `runs`: those of this page, for the plot. */
export function show(place, answer, runs) {
  const { run } = answer;
  const parts = [];
  if (run) {
    parts.push(banner(words.outcome(run), denials(run)));
    if (run.degraded.length) parts.push(el("p", { class: "note weaker" }, `▲ Weaker than the profile asks for: ${run.degraded.map(({ control }) => control).join(", ")}. What was enforced is told below.`));
    if (run.truncated.length) parts.push(el("p", { class: "note" }, `Of ${run.truncated.join(" and ")} the server kept the beginning and the end only.`));
    if (Object.keys(run.files).length || run.refused_files.length) parts.push(section("Files", files(run)));
    parts.push(section("Used, of what was allowed", meters(run)), section("Where the time went", phases(answer)), section("Evidence", evidence(run)), enforced(run));
  } else {
    const ended = answer.compile.result ? words.outcome(answer.compile.result) : null;
    const detail = ended?.kind === "bad" ? `${ended.title}. ${ended.detail}` : "What it says is above; the lines are marked in the editor.";
    parts.push(banner({ kind: "bad", title: "Not compiled", detail: `${answer.compile.reason[0].toUpperCase()}${answer.compile.reason.slice(1)}. ${detail}` }));
    if (answer.compile.result) parts.push(section("Where the time went", phases(answer)), section("Used by the compiler", meters(answer.compile.result)));
  }
  if (run) parts.push(compiler(answer.compile));
  if (runs.length > 1) parts.push(section("Runs of this page", past(runs)));
  place.replaceChildren(...parts.filter(Boolean));
  place.scrollTop = 0;
}

/** What went wrong, in place of a result. */
export function fail(place, error) {
  const { title, text } = words.trouble(error);
  const id = error.requestId && el("p", { class: "quiet" }, "Request ", el("code", {}, error.requestId));
  place.replaceChildren(banner({ kind: error.code === "canceled" ? "note" : "bad", title, detail: text }, id || []));
}

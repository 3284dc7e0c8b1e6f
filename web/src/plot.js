// Plots of what a result has: where the time went, how much of each limit was used, and the runs of this page beside each other.
// A result has totals and peaks and no samples, so no curve over time is drawn. Each plot has its figures as words beside it.

import { el, svg } from "./dom.js";
import { bytes, time } from "./units.js";

const PHASES = [
  ["queue_ns", "waiting", "queue"],
  ["setup_ns", "set-up", "setup"],
  ["run_ns", "running", "run"],
  ["teardown_ns", "clean-up", "teardown"],
];
const WIDTH = 600;

/** The phases of a run (and of its compiler) as one bar, to scale, with a legend. */
export function phases(answer) {
  const parts = [];
  const compiled = answer.compile?.result;
  if (compiled) parts.push(["compiling", "compile", Object.values(compiled.timings).reduce((sum, ns) => sum + ns, 0)]);
  if (answer.run) parts.push(...PHASES.map(([key, name, look]) => [name, look, answer.run.timings[key]]));
  const whole = parts.reduce((sum, [, , ns]) => sum + ns, 0) || 1;
  const said = parts.map(([name, , ns]) => `${name} ${time(ns)}`).join(", ");
  let at = 0;
  const bars = parts.map(([name, look, ns]) => {
    const width = Math.max(ns > 0 ? 1 : 0, (ns / whole) * WIDTH);
    const bar = svg("rect", { class: `phase-${look}`, x: at, y: 0, width, height: 18 }, svg("title", {}, `${name}: ${time(ns)}`));
    at += width;
    return bar;
  });
  return el(
    "figure",
    { class: "phases" },
    svg("svg", { viewBox: `0 0 ${Math.max(WIDTH, at)} 18`, preserveAspectRatio: "none", role: "img", "aria-label": `Where the time went: ${said}` }, bars),
    el(
      "figcaption",
      {},
      parts.map(([name, look, ns]) => el("span", { class: "key" }, el("i", { class: `swatch phase-${look}`, "aria-hidden": "true" }), `${name} `, el("b", {}, time(ns)))),
    ),
  );
}

function meter(name, used, most, show) {
  const share = most ? Math.min(1, used / most) : 0;
  const level = share >= 1 ? "full" : share >= 0.8 ? "high" : "calm";
  const percent = most ? `${share > 0 && share < 0.01 ? "under 1" : Math.round(share * 100)} %` : "no limit";
  const bar = svg(
    "svg",
    { class: "bar", viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { class: "bar-room", width: 100, height: 8 }),
    svg("rect", { class: `bar-${level}`, width: Math.max(used > 0 ? 1 : 0, share * 100), height: 8 }),
  );
  return el("tr", {}, el("th", { scope: "row" }, name), el("td", { class: "number" }, show(used)), el("td", { class: "wide" }, bar), el("td", { class: "number" }, most ? show(most) : "–"), el("td", { class: "number" }, percent));
}

/** Use beside limits. */
export function meters(run) {
  const { usage, enforced } = run;
  const { limits } = enforced;
  const number = (value) => value.toLocaleString("en");
  return el(
    "table",
    { class: "meters" },
    el("caption", { class: "unseen" }, "What was used of each limit"),
    el("thead", { class: "unseen" }, el("tr", {}, ["of", "used", "as a bar", "limit", "share"].map((text) => el("th", { scope: "col" }, text)))),
    el("tbody", {}, [
      meter("Time", usage.wall_ns, limits.wall_ns, time),
      meter("CPU time", usage.cpu_user_ns + usage.cpu_system_ns, limits.cpu_ns, time),
      meter("Peak memory", usage.memory_peak_bytes, limits.memory_bytes, bytes),
      meter("Processes", usage.pids_peak, limits.pids, number),
      meter("Output", usage.output_bytes, limits.output_bytes, bytes),
    ]),
  );
}

function columns(runs, value, show, name) {
  const top = Math.max(...runs.map(value), 1);
  const step = WIDTH / Math.max(runs.length, 12);
  const bars = runs.map((run, index) => {
    const height = Math.max(2, (value(run) / top) * 70);
    const words = `run ${run.number}, ${run.language}, ${run.title}: ${show(value(run))}`;
    return svg("rect", { class: `column column-${run.kind}`, x: index * step + 2, y: 78 - height, width: Math.max(2, step - 4), height, rx: 1.5 }, svg("title", {}, words));
  });
  const last = runs.at(-1);
  return el(
    "figure",
    { class: "columns" },
    el("figcaption", {}, `${name} `, el("b", {}, show(value(last))), ` last, ${show(top)} at most`),
    svg(
      "svg",
      { viewBox: `0 0 ${WIDTH} 80`, preserveAspectRatio: "none", role: "img", "aria-label": `${name} of the last ${runs.length} runs; the table below has the figures` },
      svg("line", { class: "axis", x1: 0, y1: 78.5, x2: WIDTH, y2: 78.5 }),
      bars,
    ),
  );
}

/** The runs of this page: [{number, language, title, kind, wall, cpu, memory}], the newest last. */
export function past(runs) {
  const rows = runs.toReversed().map((run) =>
    el("tr", {}, el("td", { class: "number" }, run.number), el("td", {}, run.language), el("td", {}, run.title), ...[time(run.wall), time(run.cpu), bytes(run.memory)].map((text) => el("td", { class: "number" }, text))),
  );
  const head = ["Run", "Language", "Outcome", "Time", "CPU time", "Memory"].map((text) => el("th", { scope: "col" }, text));
  return el(
    "div",
    { class: "past" },
    columns(runs, (run) => run.wall, time, "Time"),
    columns(runs, (run) => run.memory, bytes, "Memory"),
    el("details", {}, el("summary", {}, "These runs as a table"), el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Runs of this page" }, el("table", {}, el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows)))),
  );
}

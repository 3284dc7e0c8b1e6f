// Figures for people.

const SIZES = ["B", "KiB", "MiB", "GiB", "TiB"];

function short(value) {
  return value >= 100 || Number.isInteger(value) ? String(Math.round(value)) : value.toPrecision(value >= 10 ? 3 : 2).replace(/\.0+$/, "");
}

/** Bytes: "4.2 MiB". */
export function bytes(count) {
  let step = 0;
  let value = count;
  while (value >= 1024 && step < SIZES.length - 1) {
    value /= 1024;
    step += 1;
  }
  return `${short(value)} ${SIZES[step]}`;
}

/** Nanoseconds: "12 ms". */
export function time(ns) {
  if (ns < 1e3) return `${ns} ns`;
  if (ns < 1e6) return `${short(ns / 1e3)} µs`;
  if (ns < 1e9) return `${short(ns / 1e6)} ms`;
  return `${short(ns / 1e9)} s`;
}

/** A count with its word: "1 line", "3 lines". */
export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

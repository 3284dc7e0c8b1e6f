// A bar between two parts of the page that is dragged, or moved with the arrow keys. Where it stands is kept for the tab.

import * as session from "./session.js";

const LEAST = 20;
const MOST = 80;
const STEP = 2;

/** Make `bar` move the share (in percent) of the part before it: the variable `--NAME` of its parent. */
export function splitter(bar, name, { horizontal }) {
  const place = bar.parentElement;
  const usual = Number(bar.getAttribute("aria-valuenow"));

  const set = (percent) => {
    const share = Math.min(MOST, Math.max(LEAST, Math.round(percent)));
    bar.setAttribute("aria-valuenow", String(share));
    place.style.setProperty(`--${name}`, `${share}fr`);
    place.style.setProperty(`--${name}-rest`, `${100 - share}fr`);
    session.splits.set(name, share);
  };

  const follow = (event) => {
    const box = place.getBoundingClientRect();
    set(horizontal ? ((event.clientX - box.left) / box.width) * 100 : ((event.clientY - box.top) / box.height) * 100);
  };
  bar.addEventListener("pointerdown", (event) => {
    bar.setPointerCapture(event.pointerId);
    bar.addEventListener("pointermove", follow);
  });
  for (const name of ["pointerup", "pointercancel"]) bar.addEventListener(name, () => bar.removeEventListener("pointermove", follow));
  bar.addEventListener("dblclick", () => set(usual));
  bar.addEventListener("keydown", (event) => {
    const now = Number(bar.getAttribute("aria-valuenow"));
    const less = horizontal ? "ArrowLeft" : "ArrowUp";
    const more = horizontal ? "ArrowRight" : "ArrowDown";
    const next = { [less]: now - STEP, [more]: now + STEP, Home: LEAST, End: MOST, Enter: usual }[event.key];
    if (next === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    set(next);
  });
  const kept = session.splits.get(name);
  if (kept) set(kept);
}

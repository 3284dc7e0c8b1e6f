// Files that a program left. They are as hostile as it is: shown as text, or as a picture by what their bytes say, or saved.

import { visible } from "./ansi.js";
import { el } from "./dom.js";
import { bytes } from "./units.js";

const PICTURES = [["image/png", [0x89, 0x50, 0x4e, 0x47]], ["image/jpeg", [0xff, 0xd8, 0xff]], ["image/gif", [0x47, 0x49, 0x46, 0x38]]];
const MOST_PICTURE = 4 << 20;
const MOST_TEXT = 32 << 10;
const MOST_FILES = 50;

function decoded(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

function asText(data) {
  if (data.length > MOST_TEXT) return null;
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(data);
    return /[\u0000-\u0008\u000e-\u001f\u202a-\u202e\u2066-\u2069]/.test(text) ? null : text;
  } catch {
    return null;
  }
}

function save(name, data) {
  const address = URL.createObjectURL(new Blob([data], { type: "application/octet-stream" }));
  const anchor = el("a", { href: address, download: name.split("/").at(-1).replace(/[^\w. -]/g, "_").slice(-100) || "file" });
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

function preview(base64, data) {
  const [type] = PICTURES.find(([, magic]) => magic.every((byte, index) => data[index] === byte)) ?? [];
  if (type && data.length <= MOST_PICTURE) return el("img", { src: `data:${type};base64,${base64}`, alt: "The picture that the program made" });
  const text = asText(data);
  return text ? el("details", {}, el("summary", {}, "Show"), el("pre", { tabindex: "0" }, text)) : null;
}

/** The files of a run, and those that were not taken. */
export function files(run) {
  const all = Object.entries(run.files);
  const taken = all.slice(0, MOST_FILES).map(([name, base64]) => {
    const data = decoded(base64);
    return el("li", {}, el("code", {}, visible(name)), ` ${bytes(data.length)} `, el("button", { type: "button", class: "small", onclick: () => save(name, data) }, "Save", el("span", { class: "unseen" }, ` ${visible(name)}`)), preview(base64, data));
  });
  const more = all.length > MOST_FILES ? [el("li", { class: "quiet" }, `and ${all.length - MOST_FILES} more, which the API gives`)] : [];
  const refused = run.refused_files.slice(0, MOST_FILES).map(({ name, reason }) => el("li", { class: "quiet" }, el("code", {}, visible(name)), ` was not taken: ${reason}`));
  return el("ul", { class: "files" }, taken, more, refused);
}

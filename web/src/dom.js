// Elements, made without HTML: what a program or a server says is text, whatever it looks like.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** An element of HTML: el("p", {class: "note"}, "text", other). */
export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** An element of SVG. */
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

/** The element of the page with this id. */
export function byId(id) {
  return document.getElementById(id);
}

/** An icon: one path on a grid of 16. It says nothing that words beside it do not say. */
export function icon(path, name = "") {
  return svg("svg", { class: `icon ${name}`, viewBox: "0 0 16 16", "aria-hidden": "true", focusable: "false" }, svg("path", { d: path }));
}

/** Options of a <select>, with one of them chosen. */
export function options(select, items, chosen) {
  select.replaceChildren(...items.map(([value, text]) => el("option", { value, selected: value === chosen }, text)));
  select.value = items.some(([value]) => value === chosen) ? chosen : (items[0]?.[0] ?? "");
}

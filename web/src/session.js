// What this tab remembers: the draft and the token until it is closed, the colours for longer. Without storage it forgets.

function store(kind) {
  try {
    return window[kind];
  } catch {
    return null;
  }
}

function read(kind, name) {
  try {
    return store(kind)?.getItem(`sandbox.${name}`) ?? null;
  } catch {
    return null;
  }
}

function write(kind, name, value) {
  try {
    if (value) store(kind)?.setItem(`sandbox.${name}`, value);
    else store(kind)?.removeItem(`sandbox.${name}`);
  } catch {
    // full or off: what is on the page stays on the page
  }
}

/** The token of this tab; "" where there is none. */
export const token = {
  get: () => read("sessionStorage", "token") ?? "",
  set: (value) => write("sessionStorage", "token", value),
};

/** "light", "dark", or "" for what the system says. */
export const theme = {
  get: () => read("localStorage", "theme") ?? "",
  set: (value) => write("localStorage", "theme", value),
};

function json(name) {
  try {
    return JSON.parse(read("sessionStorage", name) ?? "null");
  } catch {
    return null;
  }
}

/** The draft: {language, codes: {language: code}, stdin, args, profile, limits, mode, link}, or null. */
export const draft = {
  get: () => json("draft"),
  set: (value) => write("sessionStorage", "draft", JSON.stringify(value)),
};

/** The runs of this tab, for the plot. */
export const runs = {
  get: () => (Array.isArray(json("runs")) ? json("runs") : []),
  set: (value) => write("sessionStorage", "runs", JSON.stringify(value)),
};

/** Where the bars between the parts stand, in percent. */
export const splits = {
  get: (name) => Number(json("splits")?.[name]) || 0,
  set: (name, share) => write("sessionStorage", "splits", JSON.stringify({ ...json("splits"), [name]: share })),
};

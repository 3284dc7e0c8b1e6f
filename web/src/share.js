// A program in a link: state → JSON → deflate → base64url, after the #. Browsers do not send that part to a server. What comes out of
// a link may have been made by anybody: it is bounded and checked, and nothing is run because of it.

const MARK = "s1.";
const MOST_LINK = 200_000;
const MOST_STATE = 1_000_000;
const TEXTS = { language: 64, code: 500_000, stdin: 200_000, args: 20_000, collect: 4000, profile: 64 };
const MODES = ["given", "typed", "terminal"];
const LIMITS = ["cpu", "wall", "memory", "pids", "output"];

/** What is wrong with a link, in words. */
export class BadLink extends Error {}

async function through(stream, data, most) {
  const writer = stream.writable.getWriter();
  writer.write(data).then(() => writer.close()).catch(() => {}); // the reader hears of it
  const reader = stream.readable.getReader();
  const parts = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.length;
    if (size > most) {
      await reader.cancel().catch(() => {});
      throw new BadLink(`it unpacks to more than ${most.toLocaleString("en")} bytes`);
    }
    parts.push(value);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

function toBase64url(data) {
  let text = "";
  for (let at = 0; at < data.length; at += 0x8000) text += String.fromCharCode(...data.subarray(at, at + 0x8000));
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

function fromBase64url(text) {
  if (!/^[A-Za-z0-9_-]*$/.test(text)) throw new BadLink("it has characters that no link of this page has");
  try {
    return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (character) => character.charCodeAt(0));
  } catch {
    throw new BadLink("it is cut off or damaged");
  }
}

/** The fragment for a state. Raises BadLink when the program is too large for a link. */
export async function pack(state) {
  const kept = Object.fromEntries(Object.keys(TEXTS).map((name) => [name, String(state[name] ?? "")]));
  kept.limits = state.limits;
  kept.mode = state.mode;
  const data = new TextEncoder().encode(JSON.stringify(kept));
  if (data.length > MOST_STATE) throw new BadLink("the program is too large for a link");
  const fragment = `#${MARK}${toBase64url(await through(new CompressionStream("deflate-raw"), data, MOST_STATE * 2))}`;
  if (fragment.length > MOST_LINK) throw new BadLink("the program is too large for a link");
  return fragment;
}

function checked(value) {
  if (value === null || typeof value !== "object" || Array.isArray(value)) throw new BadLink("there is no program in it");
  const state = {};
  for (const [name, most] of Object.entries(TEXTS)) {
    const text = value[name] ?? "";
    if (typeof text !== "string" || text.length > most) throw new BadLink(`its ${name} is not what it should be`);
    state[name] = text;
  }
  if (!/^[A-Za-z0-9_+#.-]*$/.test(state.language) || !/^[A-Za-z0-9_.-]*$/.test(state.profile)) throw new BadLink("its names are not names");
  state.limits = {};
  for (const name of LIMITS) {
    const text = value.limits?.[name] ?? "";
    if (typeof text !== "string" || !/^[0-9A-Za-z.]{0,16}$/.test(text)) throw new BadLink("its limits are no limits");
    if (text) state.limits[name] = text;
  }
  state.mode = MODES.includes(value.mode) ? value.mode : MODES[0];
  return state;
}

/** Whether a fragment claims to be a program. */
export function isLink(fragment) {
  return fragment.length > 1;
}

/** The state in a fragment. Raises BadLink. */
export async function unpack(fragment) {
  const text = fragment.replace(/^#/, "");
  if (text.length > MOST_LINK) throw new BadLink("it is too long");
  if (!text.startsWith(MARK)) throw new BadLink("it was not made by this page, or by another version of it");
  let data;
  try {
    data = await through(new DecompressionStream("deflate-raw"), fromBase64url(text.slice(MARK.length)), MOST_STATE);
  } catch (error) {
    throw error instanceof BadLink ? error : new BadLink("it is cut off or damaged");
  }
  try {
    return checked(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(data)));
  } catch (error) {
    throw error instanceof BadLink ? error : new BadLink("what is in it cannot be read");
  }
}

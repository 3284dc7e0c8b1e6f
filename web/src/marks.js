// The lines of the program that a compiler or a traceback names. Pure.

const MOST = 50;
const PLACE = /(?:^|[\s/"'(])[Mm]ain\w*\.\w+[:(](\d+)(?:[:,](\d+))?\)?:?[ \t]*(.*)$/gm;
const PYTHON = /File "[^"\n]*main\.py\d?", line (\d+)/g;
const PERL = / at \S*main\.\w+ line (\d+)/g;

/** What a stage wrote to stderr → [{line, column, message}], each line once. */
export function linesIn(text) {
  const said = text.slice(0, 100_000).replace(/\u001b\[[0-9;]*m/g, "");
  const last = said.trimEnd().split("\n").at(-1).trim();
  const found = new Map();
  const add = (line, column, message) => {
    if (line > 0 && !found.has(line) && found.size < MOST) found.set(line, { line, column, message: message.slice(0, 300) });
  };
  for (const [, line, column, message] of said.matchAll(PLACE)) {
    if (/^(warning|note|hint)\b/i.test(message)) continue;
    add(Number(line), Number(column ?? 0), message.replace(/^(fatal )?error:?\s*/i, "") || last);
  }
  const frames = [...said.matchAll(PYTHON)].map(([, line]) => Number(line));
  if (frames.length) add(frames.at(-1), 0, last); // the innermost one; the others lead to it
  for (const line of frames) add(line, 0, "leads to it");
  for (const [, line] of said.matchAll(PERL)) add(Number(line), 0, last);
  return [...found.values()].sort((one, other) => one.line - other.line);
}

// Arguments as a shell reads a line: blanks part words, quotes keep them together, a backslash keeps one character.

/** The words of a line. Raises Error for a quote without an end. */
export function words(line) {
  const out = [];
  let word = null;
  let quote = "";
  for (let at = 0; at < line.length; at += 1) {
    const character = line[at];
    if (quote) {
      if (character === quote) quote = "";
      else if (character === "\\" && quote === '"' && '"\\'.includes(line[at + 1] ?? " ")) word += line[(at += 1)];
      else word += character;
    } else if (character === "'" || character === '"') {
      quote = character;
      word ??= "";
    } else if (character === "\\" && at + 1 < line.length) word = (word ?? "") + line[(at += 1)];
    else if (/\s/.test(character)) {
      if (word !== null) out.push(word);
      word = null;
    } else word = (word ?? "") + character;
  }
  if (quote) throw new Error(`the quote ${quote} in the arguments has no end`);
  if (word !== null) out.push(word);
  return out;
}

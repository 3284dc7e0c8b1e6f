// How each language is highlighted; loaded when it is first chosen. A language that is not here is plain text.

import { StreamLanguage } from "@codemirror/language";

const legacy = (module, name) => module.then((found) => StreamLanguage.define(found[name]));
const clike = (name) => legacy(import("@codemirror/legacy-modes/mode/clike"), name);

const MODES = {
  bash: () => legacy(import("@codemirror/legacy-modes/mode/shell"), "shell"),
  c: () => import("@codemirror/lang-cpp").then((found) => found.cpp()),
  cpp: () => import("@codemirror/lang-cpp").then((found) => found.cpp()),
  csharp: () => clike("csharp"),
  go: () => import("@codemirror/lang-go").then((found) => found.go()),
  haskell: () => legacy(import("@codemirror/legacy-modes/mode/haskell"), "haskell"),
  java: () => import("@codemirror/lang-java").then((found) => found.java()),
  javascript: () => import("@codemirror/lang-javascript").then((found) => found.javascript()),
  kotlin: () => clike("kotlin"),
  lua: () => legacy(import("@codemirror/legacy-modes/mode/lua"), "lua"),
  ocaml: () => legacy(import("@codemirror/legacy-modes/mode/mllike"), "oCaml"),
  pascal: () => legacy(import("@codemirror/legacy-modes/mode/pascal"), "pascal"),
  perl: () => legacy(import("@codemirror/legacy-modes/mode/perl"), "perl"),
  php: () => import("@codemirror/lang-php").then((found) => found.php()),
  pypy3: () => import("@codemirror/lang-python").then((found) => found.python()),
  python3: () => import("@codemirror/lang-python").then((found) => found.python()),
  ruby: () => legacy(import("@codemirror/legacy-modes/mode/ruby"), "ruby"),
  rust: () => import("@codemirror/lang-rust").then((found) => found.rust()),
  typescript: () => import("@codemirror/lang-javascript").then((found) => found.javascript({ typescript: true })),
};

const INDENTS = { bash: 2, javascript: 2, lua: 2, ocaml: 2, pascal: 2, ruby: 2, typescript: 2, haskell: 2 };

/** The extension of the editor for a language: [] where there is none. */
export async function modeOf(id) {
  return Object.hasOwn(MODES, id) ? MODES[id]() : [];
}

/** How deep a step of indentation is. */
export function indentOf(id) {
  return " ".repeat(INDENTS[id] ?? 4);
}

// The editor. It lives in a shadow root, where CodeMirror's styles are constructed sheets: the page allows no inline style.

import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { HighlightStyle, bracketMatching, foldGutter, foldKeymap, indentOnInput, indentUnit, syntaxHighlighting } from "@codemirror/language";
import { setDiagnostics } from "@codemirror/lint";
import { highlightSelectionMatches, searchKeymap } from "@codemirror/search";
import { Compartment, EditorSelection, EditorState, Prec } from "@codemirror/state";
import {
  EditorView,
  drawSelection,
  highlightActiveLine,
  highlightActiveLineGutter,
  highlightSpecialChars,
  keymap,
  lineNumbers,
  rectangularSelection,
} from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { indentOf, modeOf } from "./languages.js";

const LOOK = EditorView.theme({
  "&": { height: "100%", fontSize: "13.5px", color: "var(--text)", backgroundColor: "var(--paper)" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.55" },
  ".cm-content": { caretColor: "var(--text)", padding: "10px 0" },
  ".cm-cursor": { borderLeftColor: "var(--text)", borderLeftWidth: "2px" },
  ".cm-gutters": { backgroundColor: "var(--paper)", color: "var(--quiet)", border: "none" },
  ".cm-lineNumbers .cm-gutterElement": { padding: "0 6px 0 12px" },
  ".cm-activeLine": { backgroundColor: "var(--line-here)" },
  ".cm-activeLineGutter": { backgroundColor: "var(--line-here)", color: "var(--text)" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": { backgroundColor: "var(--selected)" },
  ".cm-selectionMatch": { backgroundColor: "var(--match)" },
  "&.cm-focused .cm-matchingBracket": { backgroundColor: "var(--match)", outline: "1px solid var(--edge-strong)" },
  ".cm-panels": { backgroundColor: "var(--raised)", color: "var(--text)", borderColor: "var(--edge)" },
  ".cm-textfield": { backgroundColor: "var(--paper)", borderColor: "var(--edge-strong)", color: "var(--text)" },
  ".cm-button": { backgroundImage: "none", backgroundColor: "var(--paper)", borderColor: "var(--edge-strong)", color: "var(--text)" },
  ".cm-tooltip": { backgroundColor: "var(--raised)", color: "var(--text)", border: "1px solid var(--edge-strong)" },
  ".cm-tooltip-autocomplete ul li[aria-selected]": { backgroundColor: "var(--accent)", color: "var(--on-accent)" },
  ".cm-specialChar": { color: "var(--bad)" },
  ".cm-foldPlaceholder": { backgroundColor: "var(--match)", border: "none", color: "var(--text)" },
  ".cm-diagnostic-error": { borderLeftColor: "var(--bad)" },
});

const COLOURS = HighlightStyle.define([
  { tag: [tags.keyword, tags.modifier, tags.operatorKeyword, tags.controlKeyword], color: "var(--c-keyword)" },
  { tag: [tags.string, tags.special(tags.string), tags.regexp, tags.character], color: "var(--c-string)" },
  { tag: [tags.number, tags.bool, tags.null, tags.atom, tags.escape], color: "var(--c-number)" },
  { tag: [tags.comment, tags.meta], color: "var(--c-comment)", fontStyle: "italic" },
  { tag: [tags.typeName, tags.className, tags.namespace, tags.standard(tags.name)], color: "var(--c-type)" },
  { tag: [tags.function(tags.variableName), tags.function(tags.propertyName), tags.definition(tags.function(tags.variableName))], color: "var(--c-call)" },
  { tag: [tags.processingInstruction, tags.annotation, tags.macroName], color: "var(--c-type)" },
  { tag: tags.invalid, color: "var(--bad)" },
]);

export class Editor {
  #view;
  #mode = new Compartment();
  #indent = new Compartment();
  #states = new Map(); // language → EditorState: each keeps its own history
  #language = "";
  #extensions;

  /** `place`: the element that it fills; `onChange` is called with the text of the language at hand; `onRun` with Ctrl+Enter. */
  constructor(place, { onChange, onRun }) {
    const root = place.attachShadow({ mode: "open" });
    const inside = document.createElement("div");
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(":host{display:block;height:100%;min-width:0}div:first-of-type{height:100%}");
    root.adoptedStyleSheets = [sheet];
    root.append(inside);
    const run = () => {
      onRun();
      return true;
    };
    this.#extensions = [
      Prec.highest(keymap.of([{ key: "Mod-Enter", run }])),
      lineNumbers(),
      foldGutter(),
      highlightSpecialChars(),
      history(),
      drawSelection(),
      EditorState.allowMultipleSelections.of(true),
      indentOnInput(),
      bracketMatching(),
      closeBrackets(),
      autocompletion(),
      rectangularSelection(),
      highlightActiveLine(),
      highlightActiveLineGutter(),
      highlightSelectionMatches(),
      keymap.of([...closeBracketsKeymap, ...defaultKeymap, ...searchKeymap, ...historyKeymap, ...foldKeymap, ...completionKeymap, indentWithTab]),
      EditorView.contentAttributes.of({ "aria-label": "Program", "aria-description": "Escape, then Tab, leaves the editor. Control and Enter runs the program." }),
      EditorView.updateListener.of((update) => update.docChanged && onChange(update.state.doc.toString())),
      syntaxHighlighting(COLOURS),
      LOOK,
    ];
    this.#view = new EditorView({ parent: inside, root });
  }

  /** The program. */
  get text() {
    return this.#view.state.doc.toString();
  }

  /** Show the text of a language; its own history comes back with it. */
  open(language, text) {
    if (this.#language) this.#states.set(this.#language, this.#view.state);
    this.#language = language;
    const known = this.#states.get(language);
    if (known) this.#view.setState(known);
    else this.#view.setState(EditorState.create({ doc: text, extensions: [this.#extensions, this.#indent.of(indentUnit.of(indentOf(language))), this.#mode.of([])] }));
    if (this.text !== text) this.replace(text);
    if (!known) this.#highlight(language);
  }

  async #highlight(language) {
    const mode = await modeOf(language).catch(() => []); // the server is gone: plain text it is
    if (this.#language === language) this.#view.dispatch({ effects: this.#mode.reconfigure(mode) });
    else this.#states.delete(language);
  }

  /** Another text in place of this one. It can be undone. */
  replace(text) {
    this.#view.dispatch({ changes: { from: 0, to: this.#view.state.doc.length, insert: text }, selection: EditorSelection.cursor(0), scrollIntoView: true });
  }

  /** Mark lines: [{line, column, message}]. */
  mark(found) {
    const { doc } = this.#view.state;
    const marks = found.filter(({ line }) => line >= 1 && line <= doc.lines).map(({ line, column, message }) => {
      const { from, to } = doc.line(line);
      const at = Math.min(to, from + Math.max(0, column - 1));
      return { from: column ? at : from, to, severity: "error", message };
    });
    this.#view.dispatch(setDiagnostics(this.#view.state, marks));
  }

  /** Put the cursor there. */
  goTo(line, column = 1) {
    const { doc } = this.#view.state;
    const { from, to } = doc.line(Math.min(Math.max(1, line), doc.lines));
    this.#view.dispatch({ selection: EditorSelection.cursor(Math.min(to, from + Math.max(0, column - 1))), effects: EditorView.scrollIntoView(from, { y: "center" }) });
    this.#view.focus();
  }

  focus() {
    this.#view.focus();
  }
}

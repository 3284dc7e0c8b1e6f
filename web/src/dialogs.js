// The two dialogs: a token for the server, a link for others.

import { byId } from "./dom.js";

/** Ask for a token. `use(token)` gives "" or what is wrong with it; `forget()` throws it away. */
export class TokenDialog {
  #dialog = byId("token-dialog");
  #field = byId("token");
  #wrong = byId("token-wrong");

  constructor(use, forget) {
    byId("token-form").addEventListener("submit", async (event) => {
      event.preventDefault();
      this.#wrong.textContent = "";
      const wrong = await use(this.#field.value.trim());
      if (wrong) {
        this.#wrong.textContent = wrong;
        this.#field.select();
      } else this.#close();
    });
    byId("token-forget").addEventListener("click", () => {
      forget();
      this.#close();
    });
    byId("token-close").addEventListener("click", () => this.#close());
    this.#dialog.addEventListener("close", () => (this.#field.value = "")); // with Esc too
  }

  #close() {
    this.#dialog.close();
  }

  /** `wrong`: what was wrong with the last one. */
  open(wrong = "") {
    this.#wrong.textContent = wrong;
    if (!this.#dialog.open) this.#dialog.showModal();
    this.#field.focus();
  }
}

/** Show a link, copied where the browser lets a page copy. */
export async function showLink(link) {
  const copied = await navigator.clipboard?.writeText(link).then(() => true, () => false);
  byId("link-words").textContent = `${copied ? "It is copied. " : ""}The program itself, its input and its limits are in the link, after the #: nothing was stored on the server. Who opens it sees the program; it does not run until they say so.`;
  const field = byId("link");
  field.value = link;
  const dialog = byId("link-dialog");
  if (!dialog.open) dialog.showModal();
  field.select();
  byId("link-close").onclick = () => dialog.close();
  return Boolean(copied);
}

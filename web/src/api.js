// The service: its figures over HTTP, runs over a WebSocket. Everything it says is taken as text.

const PROTOCOL = "sandbox.v1";
const GIVE_UP_MS = 12_000; // after "stop": then the line is closed, which ends the run as well

/** What went wrong, for people. `status` is 0 where there was no answer. */
export class Trouble extends Error {
  constructor({ status = 0, code = "", message = "", hint = "", requestId = "", retryAfter = "" }) {
    super(message);
    Object.assign(this, { status, code, hint, requestId, retryAfter });
  }

  static of(status, body, headers) {
    const error = body?.error ?? {};
    return new Trouble({
      status,
      code: String(error.code ?? ""),
      message: String(error.message ?? `the server answered ${status}`),
      hint: String(error.hint ?? ""),
      requestId: String(error.request_id ?? ""),
      retryAfter: headers?.get("Retry-After") ?? "",
    });
  }
}

/** GET a path of the service → JSON. Raises Trouble. */
export async function get(path, token) {
  let answer;
  try {
    answer = await fetch(path, { headers: token ? { Authorization: `Bearer ${token}` } : {}, cache: "no-store", credentials: "omit" });
  } catch {
    throw new Trouble({ code: "gone", message: "the server does not answer" });
  }
  const body = await answer.json().catch(() => null);
  if (!answer.ok) throw Trouble.of(answer.status, body, answer.headers);
  return body;
}

function bytesOf(message) {
  if (typeof message.text === "string") return new TextEncoder().encode(message.text);
  return Uint8Array.from(atob(message.base64 ?? ""), (character) => character.charCodeAt(0));
}

/** One run at the other end of a WebSocket. Handlers: stage(name), output(stage, stream, bytes), result(answer), trouble(Trouble). */
export class Run {
  #socket;
  #handlers;
  #token;
  #done = false;
  #opened = false;
  #waiting = []; // what is said before the line is open

  constructor(start, token, handlers) {
    this.#handlers = handlers;
    this.#token = token;
    const address = new URL("/v1/runs/ws", location.href);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    this.#socket = new WebSocket(address, token ? [PROTOCOL, `bearer.${token}`] : [PROTOCOL]);
    this.#socket.onopen = () => {
      this.#opened = true;
      for (const message of [{ type: "start", ...start }, ...this.#waiting]) this.#say(message);
    };
    this.#socket.onmessage = (event) => this.#hear(event.data);
    this.#socket.onclose = (event) => this.#closed(event);
  }

  /** More standard input. */
  stdin(text) {
    this.#say({ type: "stdin", data: text });
  }

  /** No more standard input. */
  eof() {
    this.#say({ type: "eof" });
  }

  /** A key of a terminal, such as "SIGINT". */
  signal(name) {
    this.#say({ type: "signal", signal: name });
  }

  /** End it: what has run so far is still told. */
  stop() {
    if (this.#socket.readyState === WebSocket.OPEN) this.#say({ type: "signal", signal: "SIGKILL" });
    else this.abandon("it was stopped before the line to the server was open");
    setTimeout(() => this.abandon("the server did not say how the run ended; the line was closed, which ends it as well"), GIVE_UP_MS);
  }

  /** Close the line. */
  abandon(why) {
    if (this.#done) return;
    this.#finish("trouble", new Trouble({ code: "canceled", message: why }));
    this.#socket.close();
  }

  #say(message) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
    else if (this.#socket.readyState === WebSocket.CONNECTING) this.#waiting.push(message);
  }

  #finish(kind, value) {
    if (this.#done) return;
    this.#done = true;
    this.#handlers[kind](value);
  }

  #hear(text) {
    if (this.#done) return;
    const message = JSON.parse(text);
    if (message.type === "stage") this.#handlers.stage(message.stage);
    else if (message.type === "stdout" || message.type === "stderr") this.#handlers.output(message.stage, message.type, bytesOf(message));
    else if (message.type === "result") this.#finish("result", message);
    else if (message.type === "error") this.#finish("trouble", Trouble.of(0, message));
  }

  /** A browser does not tell a page why a WebSocket was refused: the same token asks once more, over HTTP. */
  async #closed(event) {
    if (this.#done) return;
    if (this.#opened) {
      this.#finish("trouble", new Trouble({ code: "gone", message: `the line to the server broke (${event.code}); its run was ended` }));
      return;
    }
    try {
      await get("/v1/ready", this.#token);
      await get("/v1/languages", this.#token);
      this.#finish("trouble", new Trouble({ code: "sockets", message: "the server answers, but opens no further line for a run now" }));
    } catch (trouble) {
      this.#finish("trouble", trouble);
    }
  }
}

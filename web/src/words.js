// What a result and an error mean, in words for people. Pure.

import { bytes, count, time } from "./units.js";

const SIGNALS = {
  SIGSEGV: "it used memory that is not its own",
  SIGABRT: "it gave up by itself (abort)",
  SIGFPE: "it divided by zero, or the like",
  SIGILL: "it executed an instruction that there is not",
  SIGBUS: "it used memory that has nothing behind it",
  SIGKILL: "it was killed, and not by a limit",
  SIGSYS: "it made a system call in a way that is not allowed",
  SIGPIPE: "it wrote to somebody who was gone",
  SIGTERM: "it was told to end",
};

const EVIDENCE = {
  "waitid code": "the exit code that the kernel told",
  "waitid signal": "the signal that ended it, as the kernel told",
  "deadline wall_ns": "time that had passed when it was ended",
  "deadline cpu_ns": "CPU time that was used when it was ended",
  "deadline idle_ns": "time without any work when it was ended",
  "usage cpu_ns": "CPU time that was used in the end",
  "capture output_bytes": "bytes that had been written when it was ended",
  "caller cancel": "its caller, or the server, ended it",
  "pids.events max": "how often a process or thread was refused",
  "memory.events oom_kill": "processes that the kernel killed for memory",
  "memory.oom_control oom_kill": "processes that the kernel killed for memory",
  "statvfs free_bytes": "what was left in the private places",
  "statvfs free_inodes": "files that could still be made",
  "stat file_bytes": "size of the file that reached its limit",
  "memory.events oom": "how often there was no memory left",
  "cpu.stat usage_usec": "CPU time of all its processes, as its control group counted",
  "cpu.stat nr_throttled": "periods in which the CPU quota held it back",
  "memory.oom_control oom_event": "the kernel's word that there was no memory left",
  "sampling resident_bytes": "memory that was in use when it was ended, sampled",
  "sampling tasks": "processes and threads at one time, sampled",
  "getrusage max_rss_bytes": "most memory of one process, as the kernel accounted",
  "memory.max_usage_in_bytes bytes": "most memory at one time, as its control group counted",
  "memory.peak bytes": "most memory at one time, as its control group counted",
  "cpuacct.usage ns": "CPU time of all its processes, as its control group counted",
};

/** {kind: good | note | bad, title, detail} of how a run ended. */
export function outcome(run) {
  const { limits } = run.enforced;
  const over = (title, detail) => ({ kind: "bad", title, detail });
  switch (run.outcome) {
    case "exited":
      if (run.exit.code === 0) return { kind: "good", title: "Exited with 0", detail: "The program ended by itself and says that all went well." };
      return { kind: "note", title: `Exited with ${run.exit.code}`, detail: "The program ended by itself and says that something went wrong." };
    case "signaled":
      return over(`Ended by ${run.exit.name}`, `The program crashed: ${SIGNALS[run.exit.name] ?? "a signal ended it"}.`);
    case "cpu_time":
      return over("CPU time limit", `All its processes together used more than ${time(limits.cpu_ns)} of CPU time.`);
    case "wall_time":
      return over("Time limit", `It was not done after ${time(limits.wall_ns)} and was ended.`);
    case "idle_time":
      return over("Idle too long", `It did nothing for ${time(limits.idle_ns)} and was ended.`);
    case "memory":
      return over("Memory limit", `It needed more than ${bytes(limits.memory_bytes)}.`);
    case "pids":
      return over("Too many processes", `It asked for more than ${count(limits.pids, "process", "processes")} and threads.`);
    case "output":
      return over("Output limit", `It wrote more than ${bytes(limits.output_bytes)} and was ended.`);
    case "disk":
      return over("Disk limit", "Its private places were full, or a file grew too large.");
    case "denied_syscall":
      return over("Denied", "It asked the kernel for something that its profile refuses.");
    case "canceled":
      return { kind: "note", title: "Stopped", detail: "Whoever started it ended it, or the server did." };
    default:
      return over(run.outcome, "");
  }
}

/** One line for the status: "Finished: exited with 0 in 12 ms". */
export function summary(answer) {
  if (!answer.run) return "Not compiled: the compiler has something against it";
  const { title } = outcome(answer.run);
  return `Finished: ${title[0].toLowerCase()}${title.slice(1)} after ${time(answer.run.usage.wall_ns)}`;
}

/** What one piece of evidence says. */
export function evidence({ source, key, value }) {
  if (source === "seccomp") return "system call that the filter refused, and how often";
  if (source === "limits") return "the limit that was in force";
  return EVIDENCE[`${source} ${key}`] ?? (typeof value === "number" ? "a figure of the kernel" : "");
}

/** The value of one piece of evidence. */
export function figure({ key, value }) {
  if (typeof value !== "number") return String(value);
  if (/(^|_)ns$/.test(key)) return time(value);
  if (/(^|_)usec$/.test(key)) return time(value * 1000);
  if (/(^|_)bytes$/.test(key)) return bytes(value);
  return value.toLocaleString("en");
}

const NETWORK = /(network is unreachable|name or service not known|temporary failure in name resolution|getaddrinfo|could not resolve|connection refused|enetunreach|eai_again|econnrefused|socketexception|unknownhostexception|urlerror)/i;
const SOCKET = /\b(connect|socket|bind|listen|sendto|tcp)\b/i;
const REFUSED = /(permission denied|operation not permitted|\beacces\b|\beperm\b|function not implemented|\benosys\b)/i;
const PLACES = /(read-only file system|no such file or directory|\berofs\b|\benoent\b|filenotfoundexception)/i;
const SPACE = /(no space left on device|file too large|\benospc\b|\befbig\b)/i;

/** Why something may have been refused: [{sure, title, text}]. What is sure stands in the evidence; the rest is read from what it wrote. */
export function denials(run) {
  const out = run.evidence
    .filter((item) => item.source === "seccomp")
    .map(({ key, value }) => ({
      sure: true,
      title: key === "killed_on" ? `The system call ${value} ended it` : `The system call ${key} was refused${value > 1 ? `, ${count(value, "time")}` : ""}`,
      text: "The filter of this profile does not let it through. Another profile may allow more; none allows what would lead out of the sandbox.",
    }));
  const wrong = !(run.outcome === "exited" && run.exit.code === 0);
  const said = run.stderr.slice(-20_000);
  if (!wrong || !said) return out;
  if (NETWORK.test(said) || (REFUSED.test(said) && SOCKET.test(said))) {
    const only = run.enforced.network === "loopback" ? "nothing but a loopback of its own" : "no network at all";
    out.push({ sure: false, title: "There is no network here", text: `The program seems to have tried one. It has ${only}: a network namespace with nothing behind it${run.enforced.landlock.tcp ? ", and Landlock refuses TCP besides" : ""}. Give it its data as input.` });
  } else if (REFUSED.test(said) && !out.length) {
    out.push({ sure: false, title: "Something was not permitted", text: "The program seems to have tried what its profile, its user id or its lack of capabilities do not allow. See what was enforced." });
  }
  if (PLACES.test(said)) out.push({ sure: false, title: "It sees only a few places", text: "A path that is not there may be one that the profile does not show, and everything is read-only but the work directory and /tmp." });
  if (SPACE.test(said)) out.push({ sure: false, title: "There was no room", text: `Its private places have ${bytes(run.enforced.limits.scratch_bytes)} together.` });
  return out;
}

/** What an error means and what to do: {title, text, again}. */
export function trouble(error) {
  const wait = error.retryAfter ? `Try again in ${count(Number(error.retryAfter), "second")}.` : "Try again in a moment.";
  const said = [error.message && `${error.message[0].toUpperCase()}${error.message.slice(1)}.`, error.hint && `Hint: ${error.hint}.`].filter(Boolean).join(" ");
  switch (error.code) {
    case "unauthorized":
      return { title: "This server wants a token", text: said };
    case "locked_out":
      return { title: "Too many wrong tokens", text: `This address has to wait. ${wait}` };
    case "forbidden":
      return { title: "Not with this token", text: said };
    case "gone":
      return { title: "The server is gone", text: `${said} Your program is still here. Is the server running, and is there a network?` };
    case "queue_full":
    case "queue_timeout":
    case "tenant_busy":
      return { title: "The server is busy", text: `${said} ${wait}` };
    case "draining":
      return { title: "The server is stopping", text: `It takes no new runs. ${wait}` };
    case "sockets":
    case "bodies":
      return { title: "Too much at once", text: `${said} ${wait}` };
    case "too_slow":
      return { title: "Too fast for this page", text: `The program wrote, or the line brought, more than could be taken in time, and the server ended the run. ${said}` };
    case "too_large":
      return { title: "Too large", text: said };
    case "canceled":
      return { title: "Stopped", text: said };
    case "internal":
      return { title: "Something broke in the server", text: `The id ${error.requestId} leads its operator to the log.` };
    default:
      return { title: error.status >= 500 ? "The server could not do it" : "The server does not take this", text: said };
  }
}

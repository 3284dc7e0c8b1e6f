"""A tenant with something to find under names that are known, who then tries to reach what another has.

    neighbour.py TOKEN KEY PORT LOCK PLACE...   prints what it has, reads from stdin the same about another (JSON in a
                                                line), prints what of that it reached, and ends with its stdin
    neighbour.py find PLACE...                  prints the names of all files there

Stand-alone: it is run in sandboxes and, as the control, outside of them.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import signal
import socket
import sys
import threading

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.shmat.restype = ctypes.c_void_p
CREATE, SIZE = 0o1666, 4096  # IPC_CREAT, for everybody
KEPT = []


class Message(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_long), ("text", ctypes.c_char * 64))


def made(result):
    """A result of libc, or its error."""
    if result in (-1, ctypes.c_void_p(-1).value):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def have_unix(me):
    serve(socket.AF_UNIX, "\0" + me["token"], me["token"])


def reach_unix(other):
    return talk(socket.AF_UNIX, "\0" + other["token"], other["token"])


def have_tcp(me):
    serve(socket.AF_INET, ("127.0.0.1", me["port"]), me["token"])


def reach_tcp(other):
    return talk(socket.AF_INET, ("127.0.0.1", other["port"]), other["token"])


def serve(family, name, token):
    listener = socket.socket(family)
    KEPT.append(listener)
    listener.bind(name)
    listener.listen()

    def answer():
        while True:
            stream, _ = listener.accept()
            stream.sendall(token.encode())
            stream.close()

    threading.Thread(target=answer, daemon=True).start()


def talk(family, name, token):
    with socket.socket(family) as sock:
        sock.settimeout(10)
        sock.connect(name)
        return sock.recv(64) == token.encode()


def have_memory(me):
    segment = made(LIBC.shmget(me["key"], SIZE, CREATE))
    ctypes.memmove(made(LIBC.shmat(segment, None, 0)), me["token"].encode(), len(me["token"]))


def reach_memory(other):
    place = made(LIBC.shmat(made(LIBC.shmget(other["key"], SIZE, 0)), None, 0))
    return ctypes.string_at(place, len(other["token"])) == other["token"].encode()


def have_queue(me):
    message = Message(1, me["token"].encode())
    made(LIBC.msgsnd(made(LIBC.msgget(me["key"], CREATE)), ctypes.byref(message), 64, 0))


def reach_queue(other):
    message = Message()
    made(LIBC.msgrcv(made(LIBC.msgget(other["key"], 0)), ctypes.byref(message), 64, 0, 0o4000))
    return message.text == other["token"].encode()


def have_posix_queue(me):
    KEPT.append(made(LIBC.mq_open(f"/{me['token']}".encode(), os.O_RDWR | os.O_CREAT, 0o666, None)))


def reach_posix_queue(other):
    os.close(made(LIBC.mq_open(f"/{other['token']}".encode(), os.O_RDONLY)))
    return True


def have_lock(me):
    """Of a file that all can read and nobody can write."""
    KEPT.append(os.open(me["lock"], os.O_RDONLY))
    fcntl.flock(KEPT[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)


def reach_lock(other):
    fd = os.open(other["lock"], os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def have_files(me):
    os.umask(0)
    for place in me["places"]:
        with open(f"{place}/{me['token']}", "w") as file:
            file.write(me["token"])


def reach_files(other):
    """All or nothing is told here; `find` tells each."""
    return any(os.path.exists(f"{place}/{other['token']}") for place in other["places"])


def have_process(me):
    LIBC.prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0)  # PR_SET_PTRACER: Yama lets everybody trace it
    signal.signal(signal.SIGURG, signal.SIG_IGN)


def see(other):
    """Its words, at any number."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                if int(name) != os.getpid() and other["token"].encode() in file.read():
                    return True
        except OSError:
            continue
    return False


def send(other):
    os.kill(other["pid"], signal.SIGURG)
    return True


def trace(other):
    made(LIBC.ptrace(0x4206, other["pid"], None, None))  # PTRACE_SEIZE
    made(LIBC.ptrace(0x4207, other["pid"], None, None))  # PTRACE_INTERRUPT: one that runs cannot be let go
    os.waitpid(other["pid"], 0)
    made(LIBC.ptrace(17, other["pid"], None, None))  # PTRACE_DETACH
    return True


HAVE = {"unix": have_unix, "tcp": have_tcp, "memory": have_memory, "queue": have_queue, "posix queue": have_posix_queue,
        "lock": have_lock, "files": have_files, "process": have_process}  # fmt: skip
REACH = {"unix": reach_unix, "tcp": reach_tcp, "memory": reach_memory, "queue": reach_queue, "posix queue": reach_posix_queue,
         "lock": reach_lock, "files": reach_files, "see": see, "signal": send, "trace": trace}  # fmt: skip


def attempts(table, about):
    """Of every entry: true, false or the error."""
    found = {}
    for name, function in table.items():
        try:
            found[name] = function(about) is not False
        except OSError as error:
            found[name] = str(error)
    return found


def say(answer):
    os.write(1, json.dumps(answer).encode() + b"\n")


def main():
    signal.alarm(100)
    if sys.argv[1] == "find":
        say([f"{place}/{name}" for place in sys.argv[2:] if os.path.isdir(place) for name in sorted(os.listdir(place))])
        return
    token, key, port, lock, *places = sys.argv[1:]
    say(attempts(HAVE, {"token": token, "key": int(key), "port": int(port), "lock": lock, "places": places}))
    for line in sys.stdin:
        say(attempts(REACH, json.loads(line)))


if __name__ == "__main__":
    main()

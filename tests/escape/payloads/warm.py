"""What a warm run can reach of its launcher: `memory` (is what stdin names, written backwards, in it?), `descriptors`."""

import os
import stat
import sys


def memory() -> None:
    """This program must not have in its own memory what it looks for: it gets it backwards, and compares backwards."""
    hidden = sys.stdin.read().strip().encode()
    start = hidden[:-5:-1]
    found = scanned = 0
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as own:
        for line in maps:
            first, _, last = line.split()[0].partition("-")
            if "r" not in line.split()[1] or "[v" in line:
                continue
            at, end = int(first, 16), int(last, 16)
            try:
                own.seek(at)
                data = own.read(end - at)
            except (OSError, ValueError, OverflowError):
                continue
            scanned += len(data)
            place = data.find(start)
            while place >= 0:
                found += data[place : place + len(hidden)][::-1] == hidden
                place = data.find(start, place + 1)
            del data
    if found:
        print("ESCAPED it is there", found, "times")
    elif scanned < 1 << 20:
        print("VOID memory cannot be read")
    else:
        print("CONTAINED not in", scanned >> 10, "KiB")


def descriptors() -> None:
    """Sockets, and what epoll and pidfds are made of, belong to the launcher."""
    bad = []
    for name in os.listdir("/proc/self/fd"):
        try:
            kind = os.fstat(int(name)).st_mode
            what = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if stat.S_ISSOCK(kind) or what.startswith("anon_inode:"):
            bad.append(what)
    print("ESCAPED" if bad else "CONTAINED", *bad)


{"memory": memory, "descriptors": descriptors}[sys.argv[1]]()

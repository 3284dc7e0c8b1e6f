"""Data in the shape of what is parsed, with odd values: bytes alone rarely get past the first brace."""

from __future__ import annotations

from typing import Any

from tests.fuzz.taking import Bytes

ODD: list[Any] = [
    None, True, False, 0, -1, 1, 1 << 31, 1 << 63, 1 << 64, 0.5, float("inf"), float("nan"), "", "0", "1s", "64MiB", "1e309",
    "-1", "none", "a" * 300, "\0", "/", "/usr", "/usr/../etc", "/work", "/proc", "..", "base", "default", [], {}, [[]], {"a": 1},
    "ENOSYS",
]  # fmt: skip
SECTIONS: dict[str, list[str]] = {
    "identity": ["uid", "gid", "hostname", "id_map"],
    "namespaces": ["user", "time", "net"],
    "rootfs": ["kind", "source", "writable"],
    "scratch": ["tmp", "shm", "executable"],
    "work": ["path", "executable", "follow_symlinks"],
    "dev": ["devices"],
    "paths": ["proc", "masked", "readonly", "unmasked"],
    "capabilities": ["keep"],
    "seccomp": ["groups", "without", "rules", "socket_families", "default_errno"],
    "landlock": ["requirement"],
    "limits": ["cpu", "wall", "idle", "memory", "pids", "cpu_quota", "output", "scratch", "file_size", "open_files", "stack"],
    "cgroup": ["requirement", "cpus", "io_per_second"],
    "network": ["mode"],
    "environment": ["set", "inherit"],
    "process": ["cwd", "umask"],
    "why": ["limits.memory", "seccomp.groups", "nothing"],
}
GOOD: dict[str, list[Any]] = {
    "uid": [1, 1000, 65533], "hostname": ["a", "a.b-c"], "id_map": ["auto", "single", "ranges"],
    "kind": ["selected", "directory"], "source": ["/usr", "/tmp"], "devices": [["null"], ["null", "zero"]],
    "proc": ["full", "pids"], "masked": [["/proc/x"]],
    "keep": [["CAP_KILL"], []], "groups": [["processes"], ["start", "files"]], "without": [["sockets"]],
    "path": ["/w", "/work/x"],
    "socket_families": [["AF_UNIX"], []], "requirement": ["required", "if_present", "best_effort"], "cpu": ["1s", "500ms"],
    "wall": ["10s"], "memory": ["10MiB", "2GiB"], "pids": [1, 64], "mode": ["none", "loopback"], "cwd": ["/work", "/tmp"],
    "umask": [0, 0o77], "set": [{"A": "b"}], "inherit": [["HOME"]], "cpus": [[0], []], "default_errno": ["ENOSYS", "EPERM"],
}  # fmt: skip
CALLS = ["read", "mount", "clone", "clone3", "socket", "execve", "ioctl", "personality", "raed", "bpf", "fork"]
OPERATORS = ["eq", "ne", "lt", "le", "gt", "ge", "masked_eq", "is"]
NUMBERS = [0, 1, 255, 0x10000, 0xFFFFFFFF, 1 << 32, (1 << 64) - 1, 1 << 64, -1]
OCI_ACTIONS = ["ALLOW", "ERRNO", "KILL", "KILL_PROCESS", "TRAP", "TRACE", "LOG", "NOTIFY", "MAYBE"]


def value(take: Bytes, key: str) -> Any:
    """Something for a key: mostly what fits."""
    if key in GOOD and take.number(3):
        return take.choice(GOOD[key])
    return take.choice(ODD)


def rule(take: Bytes) -> dict[str, Any]:
    """A rule of a profile."""
    out: dict[str, Any] = {"syscalls": [take.choice(CALLS) for _ in range(take.number(2) + 1)], "why": "w"}
    out["action"] = take.choice(["allow", "errno", "kill", "log", "notify", "deny"])
    if out["action"] == "errno" and take.number(1):
        out["errno"] = take.choice(["EPERM", "ENOSYS", "EWHAT", 5])
    args = []
    for _ in range(take.number(3)):
        condition = {"index": take.number(6), "op": take.choice(OPERATORS), "value": take.choice(NUMBERS)}
        if condition["op"] == "masked_eq":
            condition["mask"] = take.choice(NUMBERS)
        args.append(condition)
    if args:
        out["args"] = args
    return out


def profile(take: Bytes) -> dict[str, Any]:
    """A profile as data."""
    out: dict[str, Any] = {"extends": take.choice(["default", "strict", "base", "python", "compile"])}
    for _ in range(take.number(6)):
        section = take.choice(sorted(SECTIONS))
        key = take.choice(SECTIONS[section])
        chosen = [rule(take) for _ in range(take.number(3))] if key == "rules" else value(take, key)
        out.setdefault(section, {})[key] = chosen
    for _ in range(take.number(2)):
        mount = {"source": value(take, "source"), "why": take.choice(["w", ""])}
        if take.number(1):
            mount["target"] = take.choice(ODD)
        if take.number(1):
            mount["writable"] = take.choice([True, False, 1])
        out.setdefault("mounts", []).append(mount)
    return out


def overrides(take: Bytes) -> dict[str, Any]:
    """What a caller may say."""
    keys = [f"{section}.{key}" for section, names in SECTIONS.items() for key in names]
    keys += ["memory", "network", "seccomp.deny", "seccomp.kill", "mounts.remove", "mounts.read_only", "hostname"]
    out: dict[str, Any] = {}
    for _ in range(take.number(4) + 1):
        key = take.choice(keys)
        name = key.rpartition(".")[2]
        if name in ("deny", "kill"):
            out[key] = [take.choice(CALLS) for _ in range(take.number(3))]
        elif name in ("remove", "read_only"):
            out[key] = take.choice([["/usr"], "/bin,/sbin", ["/missing"], 5])
        else:
            out[key] = value(take, name)
    return out


def oci(take: Bytes) -> dict[str, Any]:
    """A Docker or OCI profile."""
    out: dict[str, Any] = {"defaultAction": f"SCMP_ACT_{take.choice(OCI_ACTIONS)}", "syscalls": []}
    if take.number(1):
        out["defaultErrnoRet"] = take.choice([1, 38, 0, 5000, "EPERM"])
    needed = {"names": ["execve", "write", "exit_group", "brk", "mmap", "munmap"], "action": "SCMP_ACT_ALLOW"}
    out["syscalls"].append(needed)
    for _ in range(take.number(6)):
        entry: dict[str, Any] = {"names": [take.choice(CALLS) for _ in range(take.number(2) + 1)]}
        entry["action"] = f"SCMP_ACT_{take.choice(OCI_ACTIONS)}"
        entry["args"] = [
            {"index": take.number(6), "value": take.choice(NUMBERS), "valueTwo": take.choice(NUMBERS),
             "op": f"SCMP_CMP_{take.choice(OPERATORS).upper()}"}
            for _ in range(take.number(3))
        ]  # fmt: skip
        if take.number(3) == 0:
            entry[take.choice(["includes", "excludes", "errno", "errnoRet", "comment"])] = take.choice(
                [{"caps": ["CAP_SYS_ADMIN"]}, {"arches": ["amd64"]}, {"minKernel": "4.8"}, "EPERM", 1, {}]
            )
        out["syscalls"].append(entry)
    return out

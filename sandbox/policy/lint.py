"""What is wrong, or unwise, in a profile: errors, and warnings with the way to cure them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sandbox.model.errors import ProfileError
from sandbox.model.policy import Policy
from sandbox.policy import load
from sandbox.policy.lines import line_of
from sandbox.policy.load import Layer
from sandbox.policy.merged import Merged
from sandbox.policy.origins import place
from sandbox.policy.reasons import unexplained
from sandbox.policy.resolve import resolve
from sandbox.policy.seccomp.rules import decisions

_SOCKET_FAMILIES = frozenset({"AF_UNIX", "AF_INET", "AF_INET6"})
_DYNAMIC = ("mmap mprotect openat read pread64 newfstatat fstat arch_prctl futex prlimit64 set_robust_list").split()
_SERIOUS = frozenset(
    "mount umount2 unshare setns ptrace process_vm_readv process_vm_writev bpf perf_event_open userfaultfd keyctl add_key"
    " request_key io_uring_setup open_by_handle_at init_module finit_module kexec_load pidfd_getfd clone3 chroot"
    " pivot_root".split()
)
_OF_THE_HOST = ("/", "/etc", "/home", "/root", "/var", "/run", "/sys", "/proc", "/dev")


@dataclass(frozen=True, slots=True)
class Finding:
    """One remark. `severity` is "error" or "warning"; `place` is "file:line"."""

    severity: str
    path: str
    place: str
    message: str
    fix: str

    def to_dict(self) -> dict[str, str]:
        """The JSON form."""
        return {"severity": self.severity, "path": self.path, "place": self.place, "message": self.message, "fix": self.fix}


def lint(name: str) -> tuple[Finding, ...]:
    """All findings about a profile, by name or path; one that cannot be loaded is a finding too."""
    try:
        found = _findings(load.load_chain(name))
    except ProfileError as error:
        where = f"{error.file}:{error.line}" if error.file and error.line else error.file
        found = [Finding("error", error.path, where, error.message, error.hint)]
    return tuple(sorted(found, key=lambda item: (item.severity, item.path)))


def _findings(layers: Sequence[Layer]) -> list[Finding]:
    policy = resolve(layers)
    return [
        *_weaker(policy, layers),
        *_calls(policy),
        *_misspelt(policy, layers),
        *_mounts(policy),
        *_duplicates(layers),
        *_startable(policy, layers),
        *_limits(policy, Merged(layers)),
        *_warm(policy),
    ]


def _weaker(policy: Policy, layers: Sequence[Layer]) -> Iterator[Finding]:
    """Every setting that is weaker than the hardened defaults needs its reason in `why`."""
    for item in unexplained(policy, layers):
        text = f"is weaker than the hardened default ({item.left or 'nothing'} → {item.right or 'nothing'}) and does not say why"
        yield Finding("error", item.key, item.place, text, f'add "{item.key}" = "the reason" to [why]')
    for layer in layers:
        for key, why in layer.content.why.items():
            if not why.strip():
                where = f"{layer.file}:{line_of('why.' + key, layer.lines)}"
                yield Finding("error", f"why.{key}", where, "gives no reason", "write the reason, or remove the setting")


def _warning(policy: Policy, key: str, message: str, fix: str) -> Finding:
    return Finding("warning", key, place(policy, key), message, fix)


def _calls(policy: Policy) -> Iterator[Finding]:
    key = "seccomp.oci" if "seccomp.oci" in policy.origins else "seccomp.rules"
    for name, decision in decisions(policy.seccomp).items():
        if decision.base is not None and decision.base.action in ("allow", "log") and name in _SERIOUS:
            text = f"allows {name}, which attacks begin with ({decision.base.why})"
            yield _warning(policy, key, text, "allow it under a condition, or not at all")
    outside = [family for family in policy.seccomp.socket_families if family not in _SOCKET_FAMILIES]
    if outside:
        shown = ", ".join(outside[:5]) + (f" and {len(outside) - 5} more" if len(outside) > 5 else "")
        verb = "is" if len(outside) == 1 else "are"
        text = f"{shown} {verb} not, or not fully, inside the network namespace"
        yield _warning(policy, "seccomp.socket_families", text, "name only the families that are needed in socket_families")
    if policy.capabilities:
        text = f"keeps {', '.join(policy.capabilities)}: rights inside the user namespace open more of the kernel"
        yield _warning(policy, "capabilities.keep", text, "keep = []")


def _misspelt(policy: Policy, layers: Sequence[Layer]) -> Iterator[Finding]:
    """Names in an OCI file that are nearly those of system calls: rules about them have no effect."""
    from sandbox.policy.calls import oci_data
    from sandbox.policy.seccomp.misspelt import misspelt
    from sandbox.policy.seccomp.oci import unknown_names

    if "seccomp.oci" not in policy.origins:
        return
    for name, meant in misspelt(unknown_names(oci_data(Merged(layers)))):
        text = f"there is no system call {name!r}, so what the file says about it has no effect"
        yield _warning(policy, "seccomp.oci", text, f"did you mean {meant!r}?")


def _mounts(policy: Policy) -> Iterator[Finding]:
    for mount in policy.mounts:
        key = f"mounts[{mount.target}]"
        if mount.writable:
            text = f"{mount.target} is a writable directory of the host: what the payload leaves there is met by other programs"
            yield _warning(policy, key, text, "use the work directory and collect")
        if mount.source in _OF_THE_HOST or mount.target.startswith(("/sys", "/run")):
            yield _warning(policy, key, f"{mount.source} holds secrets or sockets of the host", "mount less of it")
        if not mount.why:
            yield _warning(policy, key, f"the mount of {mount.source} does not say why", 'add why = "…"')


def _duplicates(layers: Sequence[Layer]) -> Iterator[Finding]:
    for layer in layers:
        lists = {
            "seccomp.groups": layer.content.seccomp.groups or [],
            "seccomp.socket_families": layer.content.seccomp.socket_families or [],
            "paths.masked": layer.content.paths.masked or [],
            "paths.readonly": layer.content.paths.readonly or [],
        }
        for key, items in lists.items():
            for item in sorted({item for item in items if items.count(item) > 1}):
                where = f"{layer.file}:{line_of(key, layer.lines)}"
                yield Finding("warning", key, where, f"{item!r} is named twice", "name it once")


def _startable(policy: Policy, layers: Sequence[Layer]) -> Iterator[Finding]:
    table = decisions(policy.seccomp)
    missing = [name for name in _DYNAMIC if name not in table]
    if missing:
        text = f"no dynamically linked program can start without {', '.join(missing)}"
        key = "seccomp.oci" if "seccomp.oci" in policy.origins else "seccomp.groups"
        yield _warning(policy, key, text, 'add the groups "start" and "files", or rules that allow them')
    if policy.rootfs.kind == "selected" and not policy.mounts and len(layers) > 1:  # base itself is there to be extended
        text = "nothing is mounted, so only static programs put in with files= can run"
        yield Finding("warning", "mounts", "", text, 'extends = "system"')


def _limits(policy: Policy, merged: Merged) -> Iterator[Finding]:
    limits = policy.limits
    if limits.scratch_bytes > limits.memory_bytes:
        text = "scratch space is memory: a full one ends the run as memory, not as disk"
        yield _warning(policy, "limits.scratch", text, "keep limits.scratch below limits.memory")
    cores = limits.cpu_quota_millicpus / 1000 or float(len(policy.cgroup.cpus)) or 4096.0
    # Who lowers the elapsed time alone means just that: the CPU time that was inherited stays behind it.
    meant = merged.depth("limits.cpu") >= merged.depth("limits.wall")
    if meant and limits.cpu_ns > limits.wall_ns * cores:
        yield _warning(policy, "limits.cpu", "can never be used up within limits.wall", "lower limits.cpu or raise limits.wall")
    if limits.pids > 4096:
        yield _warning(policy, "limits.pids", "is more than a host may bear", "lower it")


def _warm(policy: Policy) -> Iterator[Finding]:
    writable = [mount.target for mount in policy.mounts if mount.writable]
    if policy.warm.interpreter and writable:
        text = f"runs can write in {', '.join(writable)}: what the interpreter loads from there refuses the start"
        yield _warning(policy, "warm.interpreter", text, "leave such places out of PYTHONPATH")

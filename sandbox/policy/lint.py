"""What is wrong, or unwise, in a profile: errors, and warnings with the way to cure them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sandbox.model.policy import Policy
from sandbox.policy import load
from sandbox.policy.diff import diff
from sandbox.policy.explain import origin
from sandbox.policy.load import Layer, line_of
from sandbox.policy.resolve import LIMITS, resolve
from sandbox.policy.seccomp.rules import decisions

_SOCKET_FAMILIES = frozenset({"AF_UNIX", "AF_INET", "AF_INET6"})
_DYNAMIC = ("mmap mprotect openat read pread64 newfstatat fstat arch_prctl futex prlimit64 set_robust_list").split()
_SERIOUS = frozenset(
    "mount umount2 unshare setns ptrace process_vm_readv process_vm_writev bpf perf_event_open userfaultfd keyctl add_key"
    " request_key io_uring_setup open_by_handle_at init_module finit_module kexec_load pidfd_getfd clone3 chroot"
    " pivot_root".split()
)


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
    """All findings about a profile, by name or path. Raises ProfileError when it cannot be loaded at all."""
    layers = load.load_chain(name)
    policy = resolve(layers)
    found = [
        *_weaker(policy, layers),
        *_calls(policy),
        *_mounts(policy),
        *_duplicates(layers),
        *_startable(policy),
        *_limits(policy),
    ]
    return tuple(sorted(found, key=lambda item: (item.severity, item.path)))


def _weaker(policy: Policy, layers: Sequence[Layer]) -> Iterator[Finding]:
    """Every setting that is weaker than the hardened defaults needs its reason in `why`."""
    reasons = {key for key, _ in policy.exceptions}
    told: set[str] = set()
    for item in diff(resolve(load.load_chain(load.ROOT)), policy):
        key = "seccomp.groups" if item.key.startswith("seccomp ") else item.key
        if item.direction != "looser" or key.startswith("mounts ") or key in told:
            continue
        told.add(key)
        if key not in reasons:
            text = (
                f"is weaker than the hardened default ({item.left or 'nothing'} → {item.right or 'nothing'}) and does not say why"
            )
            yield Finding("error", key, origin(policy, key), text, f'add "{key}" = "the reason" to [why]')
    for layer in layers:
        for key, why in layer.content.why.items():
            if not why.strip():
                place = f"{layer.file}:{line_of('why.' + key, layer.lines)}"
                yield Finding("error", f"why.{key}", place, "gives no reason", "write the reason, or remove the setting")


def _calls(policy: Policy) -> Iterator[Finding]:
    for name, decision in decisions(policy.seccomp).items():
        if decision.base is not None and decision.base.action in ("allow", "log") and name in _SERIOUS:
            why = decision.base.why
            text = f"allows {name}, which attacks begin with ({why})"
            yield Finding(
                "warning", "seccomp.rules", origin(policy, "seccomp.rules"), text, "allow it under a condition, or not at all"
            )
    for family in policy.seccomp.socket_families:
        if family not in _SOCKET_FAMILIES:
            text = f"{family} is not, or not fully, inside the network namespace"
            yield Finding("warning", "seccomp.socket_families", origin(policy, "seccomp.socket_families"), text, "leave it out")
    if policy.capabilities:
        text = f"keeps {', '.join(policy.capabilities)}: rights inside the user namespace open more of the kernel"
        yield Finding("warning", "capabilities.keep", origin(policy, "capabilities.keep"), text, "keep = []")


def _mounts(policy: Policy) -> Iterator[Finding]:
    for number, mount in enumerate(policy.mounts):
        key = f"mounts[{number}]"
        if mount.writable:
            text = f"{mount.target} is a writable directory of the host: what the payload leaves there is met by other programs"
            yield Finding("warning", key, origin(policy, key), text, "use the work directory and collect")
        if mount.source in ("/", "/etc", "/home", "/root", "/var", "/run", "/sys", "/proc", "/dev") or mount.target.startswith(
            ("/sys", "/run")
        ):
            yield Finding(
                "warning", key, origin(policy, key), f"{mount.source} holds secrets or sockets of the host", "mount less of it"
            )
        if not mount.why:
            yield Finding("warning", key, origin(policy, key), f"the mount of {mount.source} does not say why", 'add why = "…"')


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
                place = f"{layer.file}:{line_of(key, layer.lines)}"
                yield Finding("warning", key, place, f"{item!r} is named twice", "name it once")


def _startable(policy: Policy) -> Iterator[Finding]:
    table = decisions(policy.seccomp)
    missing = [name for name in _DYNAMIC if name not in table]
    if missing:
        text = f"no dynamically linked program can start without {', '.join(missing)}"
        yield Finding("warning", "seccomp.groups", origin(policy, "seccomp.groups"), text, 'add the groups "start" and "files"')
    if policy.rootfs.kind == "selected" and not policy.mounts:
        yield Finding(
            "warning",
            "mounts",
            "",
            "nothing is mounted, so only static programs put in with files= can run",
            'extends = "system"',
        )


def _limits(policy: Policy) -> Iterator[Finding]:
    limits = policy.limits
    if limits.scratch_bytes > limits.memory_bytes:
        text = "scratch space is memory: a full one ends the run as memory, not as disk"
        yield Finding(
            "warning", "limits.scratch", origin(policy, "limits.scratch"), text, "keep limits.scratch below limits.memory"
        )
    cores = limits.cpu_quota_millicpus / 1000 or float(len(policy.cgroup.cpus)) or 4096.0
    if limits.cpu_ns > limits.wall_ns * cores:
        text = "can never be used up within limits.wall"
        yield Finding("warning", "limits.cpu", origin(policy, "limits.cpu"), text, "lower limits.cpu or raise limits.wall")
    for name, field in LIMITS.items():
        if name == "pids" and getattr(limits, field) > 4096:
            yield Finding(
                "warning", f"limits.{name}", origin(policy, f"limits.{name}"), "is more than a host may bear", "lower it"
            )

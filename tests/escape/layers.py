"""Layers, and how each is taken away: by another plan, or by a launcher whose source lacks the line that does it.

The product has no switch for any of this. A patch is (file below sandbox/, old text, new text); the old text must stand
there exactly once, so a patch that no longer fits fails the run instead of testing nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox.kernel import mounts, namespaces
from sandbox.model import plan as plans
from sandbox.model.plan import Filters, Landlock, MountOp, Plan

ROOT = Path(__file__).resolve().parents[2]
Patch = tuple[str, str, str]
ALLOW_ALL = struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000)
HOST = "/.host"  # where the knock-out of "mounts" shows the whole host


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One barrier.

    Attributes:
        name: as in the layers of an attack.
        plan: what it is without.
        patches: of the launcher's source.
        caller: a context in which the caller's side does without it.
        implies: layers that cannot be there without this one.
        executed: why taking it away says nothing about a warm interpreter. That is done with an executed program then.
        hosts: "root" or "user" where it exists for one kind of caller only.
    """

    name: str
    plan: Callable[[Plan], Plan] | None = None
    patches: tuple[Patch, ...] = ()
    caller: Callable[[], contextlib.AbstractContextManager[None]] | None = None
    implies: tuple[str, ...] = ()
    executed: str = ""
    hosts: tuple[str, ...] = ("root", "user")


LAYERS: dict[str, Layer] = {}


def register(*layers: Layer) -> None:
    """Make layers known by their names."""
    for layer in layers:
        if layer.name in LAYERS:
            raise ValueError(f"two layers are called {layer.name!r}")
        LAYERS[layer.name] = layer


def closure(names: Sequence[str]) -> tuple[str, ...]:
    """The names and all that they imply, sorted."""
    found: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending.extend(LAYERS[name].implies)
    return tuple(sorted(found))


def without(plan: Plan, names: Sequence[str]) -> Plan:
    """The plan without these layers."""
    for name in closure(names):
        change = LAYERS[name].plan
        if change is not None:
            plan = change(plan)
    return plan


def launcher_without(names: Sequence[str], directory: Path) -> Path | None:
    """The entry point of a launcher without these layers; None where the ordinary one will do."""
    patches = [patch for name in closure(names) for patch in LAYERS[name].patches]
    if not patches:
        return None
    key = hashlib.sha256(repr(patches).encode()).hexdigest()[:16]
    copy = directory / f"launcher-{key}"
    if not copy.exists():
        scratch = Path(tempfile.mkdtemp(prefix="launcher-", dir=directory))
        shutil.copytree(ROOT / "sandbox", scratch / "sandbox", ignore=shutil.ignore_patterns("__pycache__"))
        for file, old, new in patches:
            path = scratch / "sandbox" / file
            text = path.read_text()
            if text.count(old) != 1:
                raise AssertionError(f"the patch of {file} does not fit any more: {text.count(old)} times {old!r}")
            path.write_text(text.replace(old, new))
        for folder, _, _ in os.walk(scratch):
            os.chmod(folder, 0o755)
        scratch.rename(copy)
    return copy / "sandbox" / "launcher" / "__main__.py"


@contextlib.contextmanager
def callers_side(names: Sequence[str]) -> Iterator[None]:
    """In here the caller's side does without these layers."""
    with contextlib.ExitStack() as stack:
        for name in closure(names):
            caller = LAYERS[name].caller
            if caller is not None:
                stack.enter_context(caller())
        yield


def _filter(plan: Plan) -> Plan:
    return plan.replace(filters=Filters(main=ALLOW_ALL, notify=b"", kill=(), names=(), early=plan.filters.early))


def _landlock(plan: Plan) -> Plan:
    return plan.replace(landlock=Landlock(abi=0, handled_fs=0, handled_net=0, scoped=0, rules=()))


def _mounts(plan: Plan) -> Plan:
    """The host's root stands in the sandbox, readable."""
    hard = mounts.ATTR_NOSUID | mounts.ATTR_NODEV | mounts.ATTR_RDONLY
    point = MountOp(kind=plans.MKDIR, target=HOST.encode())
    host = MountOp(kind=plans.BIND, source=b"/", target=HOST.encode(), attrs=hard, is_dir=True)
    return plan.replace(template=(point, *plan.template, host))


def _without_attribute(bit: int) -> Callable[[Plan], Plan]:
    def change(plan: Plan) -> Plan:
        template = tuple(item.replace(attrs=item.attrs & ~bit) if item.kind == plans.BIND else item for item in plan.template)
        return plan.replace(template=template, work_attrs=plan.work_attrs & ~bit, scratch_attrs=plan.scratch_attrs & ~bit)

    return change


def _without_namespace(flag: int) -> Callable[[Plan], Plan]:
    def change(plan: Plan) -> Plan:
        own = flag != namespaces.CLONE_NEWNET  # nobody may raise the host's loopback
        return plan.replace(clone_flags=plan.clone_flags & ~flag, loopback_up=plan.loopback_up and own)

    return change


register(
    Layer(name="filter", plan=_filter),
    Layer(name="landlock", plan=_landlock),
    Layer(name="mounts", plan=_mounts),
    Layer(name="read-only", plan=_without_attribute(mounts.ATTR_RDONLY), executed="no launcher becomes warm without it"),
    Layer(
        name="nosuid",
        plan=_without_attribute(mounts.ATTR_NOSUID),
        patches=(("launcher/scratch.py", "_HARD = mounts.ATTR_NOSUID | mounts.ATTR_NODEV", "_HARD = mounts.ATTR_NODEV"),),
    ),
    Layer(name="masks", plan=lambda plan: plan.replace(masks=())),
    Layer(name="read-only paths", plan=lambda plan: plan.replace(readonly=())),
    Layer(
        name="read-only proc",
        patches=(
            (
                "launcher/init.py",
                '            mounts.set_attributes(proc, b"", mounts.ATTR_RDONLY, recursive=False)\n',
                "",
            ),
        ),
    ),
    Layer(name="net namespace", plan=_without_namespace(namespaces.CLONE_NEWNET)),
    Layer(name="ipc namespace", plan=_without_namespace(namespaces.CLONE_NEWIPC)),
    Layer(name="uts namespace", plan=_without_namespace(namespaces.CLONE_NEWUTS)),
    Layer(
        name="user namespace limit",
        patches=(("launcher/init.py", '    ("max_user_namespaces", b"0"),\n', ""),),
    ),
    Layer(
        name="capabilities",
        patches=(
            ("launcher/init.py", "        process.drop_capabilities(plan.capabilities)\n", ""),
            ("launcher/runs.py", "return rights and filtered and users", "return filtered and users"),
        ),
    ),
    Layer(
        name="no_new_privs",
        patches=(
            ("launcher/init.py", "        process.prctl(process.PR_SET_NO_NEW_PRIVS, 1)\n", ""),
            ("launcher/runs.py", ' and found[b"NoNewPrivs"] == b"1"', ""),
        ),
        implies=("filter", "landlock", "filter loading"),  # the kernel takes neither without it
    ),
    Layer(
        name="filter loading",
        patches=(
            ("launcher/payload.py", "    filters.load_filter(plan.filters.main)\n", ""),
            ("launcher/runs.py", "        filtered = int(found", "        filtered = True or int(found"),
        ),
        implies=("filter",),
    ),
    Layer(
        name="non-dumpable",
        patches=(("launcher/init.py", "        process.prctl(process.PR_SET_DUMPABLE, 0)\n", ""),),
    ),
)

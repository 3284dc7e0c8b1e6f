"""Where attacks are run: in a sandbox of a profile, with layers taken away, or under plain bubblewrap."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import pkgutil
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import pytest

from sandbox import Exited, Mount, Profile, RequestError, Sandbox, SandboxError
from sandbox.resources.cgroups import find_base
from sandbox.runtime import keeper as keeper_module
from sandbox.runtime import warm
from sandbox.runtime.engine import Engine
from tests.escape import attacks as attack_modules
from tests.escape import callers, layers
from tests.escape.model import CATEGORIES, HERE, Attack, BrokenTrial, Scene, Trial, Verdict, verdict_of, verdict_of_end
from tests.support.clock import SLOWNESS, seconds
from tests.support.programs import build

INSIDE = "/opt/attack"
BWRAP = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
WALL = "10s"
WARM = "python-warm"
SHARED = ("-shared", "-fPIC", "-Wl,-Bsymbolic", "-s")  # its own names come before those of the interpreter


def load() -> dict[str, Attack]:
    """Every attack by its id."""
    found: dict[str, Attack] = {}
    for info in sorted(pkgutil.iter_modules(attack_modules.__path__), key=lambda item: item.name):
        module = importlib.import_module(f"{attack_modules.__name__}.{info.name}")
        for attack in module.ATTACKS:
            if attack.id in found:
                raise ValueError(f"two attacks are called {attack.id}")
            unknown = [name for name in attack.layers if name not in layers.LAYERS]
            if unknown:
                raise ValueError(f"{attack.id}: unknown layers {unknown}")
            found[attack.id] = attack
            CATEGORIES[attack.id] = info.name
    return found


class Arena:
    """Keeps payloads and warm sandboxes. Use as a context; one thread."""

    def __init__(self, *, degraded: bool) -> None:
        self.degraded = degraded
        self._stack = contextlib.ExitStack()
        self._boxes: dict[tuple[str, tuple[str, ...]], Sandbox] = {}

    def __enter__(self) -> Self:
        base = "/var/tmp" if os.access("/var/tmp", os.W_OK) else None
        self.directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="sandbox-escape-", dir=base)))
        self.directory.chmod(0o755)
        self.payloads = self.directory / "payloads"
        self.payloads.mkdir()
        sources = sorted((HERE / "payloads").glob("*.c"))
        flags = ("-I", str(HERE / "payloads"), *(str(path) for path in sources[1:]))
        shutil.copy2(build(sources[0], *flags), self.payloads / "probe")
        shutil.copy2(build(sources[0], *flags, link=SHARED), self.payloads / "probe.so")
        for path in (HERE / "payloads").glob("*.py"):
            shutil.copy2(path, self.payloads / path.name)
        for path in self.payloads.iterdir():
            path.chmod(0o755)
        return self

    def __exit__(self, *_: object) -> None:
        for box in self._boxes.values():
            box.close()
        self._stack.close()

    def argv(self, attack: Attack, scene: Scene, where: str, *, warm: bool = False) -> list[str]:
        """The command of an attack, with its payload below `where`; `warm`: in a Python that is not executed."""
        kind, _, rest = attack.command.partition(" ")
        if kind == "probe":
            return probe(where, [*rest.split(), *scene.arguments], warm=warm)
        if kind == "python":
            return ["python3", f"{where}/{rest.split()[0]}.py", *rest.split()[1:], *scene.arguments]
        if kind == "sh":
            return ["/bin/sh", "-c", rest, "sh", *scene.arguments]
        raise ValueError(f"{attack.id}: {kind!r} is no kind of payload")

    def run(self, attack: Attack, profile: str, removed: Sequence[str]) -> Trial:
        """Run it once."""
        names = layers.closure(removed)
        with self._scene(attack) as scene:
            try:
                verdict, detail = self._attempt(attack, scene, profile, names)
            except SandboxError as error:
                verdict, detail = _verdict_of_error(scene, error)
            except (BrokenTrial, AssertionError) as error:
                verdict, detail = "unclear", f"BROKEN {error}"[:200]
        return Trial(attack.id, profile, tuple(sorted(removed)), verdict, detail)

    def _attempt(self, attack: Attack, scene: Scene, profile: str, names: tuple[str, ...]) -> tuple[Any, str]:
        if attack.command.startswith("caller "):
            return callers.attempt(self, attack, profile, names)
        with contextlib.ExitStack() as stack:
            stack.enter_context(layers.callers_side(names))
            box = stack.enter_context(self._box(scene, profile, names))
            if scene.beside is not None:
                stack.enter_context(scene.beside(box))
            options = {"limits": {"wall": WALL if SLOWNESS == 1 else "19s"}, **scene.options}
            with self._with_companion(scene, box):
                result = box.run(self.argv(attack, scene, INSIDE, warm=profile == WARM), **options)
            seen = scene.check(result) if scene.check is not None else ""
        verdict, detail = verdict_of(result.stdout, seen)
        return verdict_of_end(attack, scene, result) if verdict == "unclear" else (verdict, detail)

    @staticmethod
    @contextlib.contextmanager
    def _with_companion(scene: Scene, box: Sandbox) -> Iterator[None]:
        """With the scene's companion, which is canceled at the end if it still runs."""
        if not scene.companion:
            yield
            return
        with box.start([f"{INSIDE}/probe", *scene.companion]) as handle:
            yield
            if scene.companion_grace:  # what ended it is told apart from our own end of it
                with contextlib.suppress(TimeoutError):
                    handle.wait(seconds(scene.companion_grace))
            handle.cancel()
            told = scene.companion_result = handle.wait()
        if isinstance(told.exit, Exited) and told.exit.code:
            raise BrokenTrial(f"its companion has failed: {told.stderr.decode('utf-8', 'replace')[-100:]}")

    @contextlib.contextmanager
    def _box(self, scene: Scene, profile: str, names: tuple[str, ...]) -> Iterator[Sandbox]:
        """A warm sandbox where the scene asks for nothing special, else one of its own."""
        if scene.mounts or scene.profile:
            with self._make(scene, profile, names) as box:
                yield box
            return
        key = (profile, names)
        if key not in self._boxes:
            self._boxes[key] = self._make(scene, profile, names)
        yield self._boxes[key]

    def _make(self, scene: Scene, profile: str, names: tuple[str, ...]) -> Sandbox:
        mounts = [_mount(str(self.payloads), INSIDE)]
        mounts += [_mount(source, target, writable=writable) for source, target, writable in scene.mounts]
        chosen = Profile.load(profile)
        if scene.profile:
            chosen = Profile.from_dict({"extends": profile, **scene.profile})
        box = Sandbox(chosen, mounts=mounts, allow_degraded=self.degraded)
        if scene.planned is not None:
            scene.planned()
        if names:
            self._knock_out(box, names)
        return box

    def _knock_out(self, box: Sandbox, names: tuple[str, ...]) -> None:
        engine = box._engine
        changed = Engine(engine.policy, layers.without(engine.plan, names), engine.base, engine.slots.capacity, parked=0)
        engine.close()
        box._engine = changed
        entry = layers.launcher_without(names, self.directory)
        with pytest.MonkeyPatch.context() as patch:
            if entry is not None:
                patch.setattr(keeper_module, "_MAIN", str(entry))
                patch.setattr(warm, "package", functools.partial(warm.package, str(entry.parents[1])))
            changed.launchers.give_back(changed.launchers.take())

    @contextlib.contextmanager
    def _scene(self, attack: Attack) -> Iterator[Scene]:
        directory = Path(tempfile.mkdtemp(prefix=f"{attack.id}-", dir=self.directory))
        directory.chmod(0o755)
        try:
            if attack.scene is None:
                yield Scene()
            else:
                with attack.scene(directory) as scene:
                    yield scene
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def under_bwrap(self, attack: Attack) -> Trial:
        """The same payload under plain bubblewrap."""
        with self._scene(attack) as scene:
            words = list(BWRAP)
            for source, _, writable in scene.mounts:
                words += ["--bind" if writable else "--ro-bind", source, source]
            done = subprocess.run(
                [*words, *self.argv(attack, scene, str(self.payloads))],
                input=scene.options.get("stdin") or b"",
                capture_output=True,
                timeout=seconds(60),
                check=False,
                env={**os.environ, **scene.options.get("env", {})},
            )
            seen = scene.check(done) if scene.check is not None else ""
            verdict, detail = verdict_of(done.stdout, seen)
            if verdict == "unclear":
                said = done.stderr.decode("utf-8", "replace").strip()
                detail = f"{detail}, and ended with status {done.returncode}: {said[-150:]}"
                if scene.check is not None and not said.startswith(("bwrap:", "probe:")):
                    verdict = "contained"
        return Trial(attack.id, "bwrap", (), verdict, detail)


def probe(where: str, words: Sequence[str], *, warm: bool) -> list[str]:
    """The probe with these words, as a program or within a warm interpreter."""
    return ["python3", f"{where}/within.py", f"{where}/probe.so", *words] if warm else [f"{where}/probe", *words]


def _verdict_of_error(scene: Scene, error: SandboxError) -> tuple[Verdict, str]:
    """A launch that failed for a reason of its own has contained nothing."""
    detail = f"{type(error).__name__}: {error}"[:200]
    if scene.failed is not None and (seen := scene.failed(error)):
        return "escaped", seen
    if isinstance(error, RequestError) or any(part in str(error) for part in scene.refusals):
        return "contained", detail
    return "unclear", f"BROKEN {detail}"


def _mount(source: str, target: str, *, writable: bool = False) -> Mount:
    return Mount(source=source, target=target, writable=writable, executable=True, requirement="required", why="an attack")


def kind() -> str:
    """ "root" or "user"."""
    return "root" if os.getuid() == 0 else "user"


def has_base() -> bool:
    """Whether this host gives us control groups."""
    try:
        find_base()
    except SandboxError:
        return False
    return True


def version() -> str:
    """Of the control groups that are used."""
    return f"v{find_base().version}"

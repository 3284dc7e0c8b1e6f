"""The root of the file system as a list of mount operations.

Everything is placed in a tmpfs of the launcher's own. Mount points are made there before anything foreign is mounted; a
target inside a foreign directory must exist in it already. Links of the host (/bin → usr/bin) become links inside.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field

from sandbox.kernel import mounts
from sandbox.launcher.overlay import LOWER, MERGED, POINTS
from sandbox.launcher.scratch import OVERLAY_STAGE
from sandbox.model import plan as plans
from sandbox.model.errors import ProfileError, RequestError
from sandbox.model.plan import MountOp
from sandbox.model.policy import Mount, Policy
from sandbox.policy.origins import wrong_at
from sandbox.policy.paths import within
from sandbox.policy.places import overlap

HARD = mounts.ATTR_NOSUID | mounts.ATTR_NODEV
NOEXEC = mounts.ATTR_NOEXEC
NOSYMFOLLOW = mounts.ATTR_NOSYMFOLLOW
_RDONLY = mounts.ATTR_RDONLY
# Source: Documentation/admin-guide/devices.txt
DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9)}
_LINKS = (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2"), ("ptmx", "pts/ptmx"))
_OURS = frozenset({"proc", "dev", "sys", "tmp"})


@dataclass(frozen=True, slots=True)
class Place:
    """One foreign file or directory inside: where, from where, and what is allowed on it."""

    target: str
    source: str
    is_directory: bool
    writable: bool
    executable: bool
    foreign: bool = False


@dataclass(slots=True)
class Root:
    """What `build` found out. `places` are sorted by target."""

    places: list[Place] = field(default_factory=list)
    operations: tuple[MountOp, ...] = ()
    overlay: bool = False
    carried: tuple[bytes, ...] = ()
    has_etc: bool = True
    made: set[str] = field(default_factory=set)

    def place_of(self, path: str) -> Place | None:
        """The innermost place that `path` lies in."""
        best = None
        for place in self.places:
            if path == place.target or path.startswith(place.target.rstrip("/") + "/"):
                best = place
        return best

    def host_path(self, path: str) -> str | None:
        """The host path that is seen as `path` inside; None when it is ours."""
        place = self.place_of(path)
        return None if place is None else place.source + path[len(place.target) :]


def build(policy: Policy) -> Root:
    """The operations for `policy`.

    Raises ProfileError for a source or target that cannot be used, RequestError when the caller granted the mount.
    """
    root = Root(overlay=policy.rootfs.kind == "directory" and policy.rootfs.writable)
    wanted = list(policy.mounts)
    links: list[tuple[str, str]] = []
    entries: list[Mount] = []
    if policy.rootfs.kind == "directory":
        found = _entries_of(policy.rootfs.source, policy, [] if root.overlay else links)
        entries = [] if root.overlay else found
    for mount in sorted(entries + wanted, key=lambda item: item.target.count("/")):
        _add(mount, policy, root, links, foreign=mount in entries)
    root.places.sort(key=lambda place: place.target)
    operations = _skeleton(policy, root)
    for target, text in links:
        _parents(target, root, operations)
        operations.append(MountOp(kind=plans.SYMLINK, target=os.fsencode(target), data=os.fsencode(text)))
    binds: list[MountOp] = []
    for place in root.places:
        _mount_point(place, policy, root, operations)
        attrs = HARD | (0 if place.writable else _RDONLY) | (0 if place.executable else NOEXEC)
        binds.append(_bind(place.source, place.target, attrs, is_dir=place.is_directory, foreign=place.foreign))
    if root.overlay:
        own = ["/proc", "/dev", policy.work.path, *(["/tmp"] if policy.scratch.tmp else [])]
        carried = dict.fromkeys(own, True) | {place.target: place.is_directory for place in root.places}
        root.carried = tuple(os.fsencode(path) for path in carried)
        operations += _points(carried)
    root.operations = (*operations, *_devices(policy), *binds)
    root.has_etc = "/etc" in root.made or any(place.target == "/etc" for place in root.places)
    return root


def _bind(source: str, target: str, attrs: int, *, is_dir: bool, foreign: bool = False) -> MountOp:
    """A bind whose links are followed here and now: the launcher follows none, so nobody can put one in its way later."""
    beneath = b""
    if foreign:  # an entry of a root directory, whose owner may be nobody's friend
        beneath, name = os.fsencode(os.path.realpath(os.path.dirname(source))), os.fsencode(os.path.basename(source))
    else:
        name = os.fsencode(os.path.realpath(source))
    return MountOp(kind=plans.BIND, source=name, beneath=beneath, target=os.fsencode(target), attrs=attrs, is_dir=is_dir)


def _add(mount: Mount, policy: Policy, root: Root, links: list[tuple[str, str]], *, foreign: bool) -> None:
    """Turn one mount of the policy into a place or a link; leave it out when it is optional and missing."""
    try:
        found = os.stat(mount.source)
    except OSError as error:
        if mount.requirement == "if_present":
            return
        message = f"the source {mount.source!r} cannot be mounted: {os.strerror(error.errno or 0)}"
        raise _wrong(policy, mount.target, message, 'create it, or set requirement = "if_present"') from None
    if os.path.islink(mount.source) and mount.requirement == "if_present" and mount.source == mount.target:
        links.append((mount.target, os.readlink(mount.source)))
        return
    hint = "choose a target of its own, such as /data, or pass the file with files="
    clash = overlap(policy, mount.target)
    if clash:
        raise _wrong(policy, mount.target, clash, hint)
    for private in (*(["/tmp"] if policy.scratch.tmp else []), "/dev", "/proc"):
        if within(mount.target, private):
            message = f"the mount target {mount.target!r} lies in {private!r}, which every run makes anew"
            raise _wrong(policy, mount.target, message, hint)
    if not stat.S_ISDIR(found.st_mode) and not stat.S_ISREG(found.st_mode):
        raise _wrong(policy, mount.target, f"the source {mount.source!r} is neither a file nor a directory")
    is_directory = stat.S_ISDIR(found.st_mode)
    root.places.append(Place(mount.target, mount.source, is_directory, mount.writable, mount.executable, foreign))


def _wrong(policy: Policy, target: str, message: str, hint: str = "") -> ProfileError | RequestError:
    """The error at the place that said the mount; an entry of a root directory was said by rootfs.source."""
    key = f"mounts[{target}]"
    entry = key not in policy.origins and policy.rootfs.kind == "directory"
    return wrong_at(policy, "rootfs.source" if entry else key, message, hint)


def _entries_of(source: str, policy: Policy, links: list[tuple[str, str]]) -> list[Mount]:
    """A root directory as one mount for each of its entries, so that our own /proc, /dev… never land in it.

    Its links are copied into `links` as they are: what they point to is looked up inside, never on the host.
    """
    taken = {mount.target for mount in policy.mounts}
    try:
        entries = sorted(os.scandir(source), key=lambda entry: entry.name)
    except OSError as error:
        message = f"the root {source!r} cannot be read: {error.strerror}"
        raise wrong_at(policy, "rootfs.source", message, "name a directory that the caller can read") from None
    ours = _OURS | {policy.work.path.strip("/").split("/")[0]}
    out = []
    for entry in entries:
        target = "/" + entry.name
        if entry.name in ours or target in taken:
            continue
        if entry.is_symlink():
            links.append((target, os.readlink(entry.path)))
            continue
        if not entry.is_dir(follow_symlinks=False) and not entry.is_file(follow_symlinks=False):
            continue  # a fifo, a socket, a device: nothing that a root needs at its top
        out.append(Mount(entry.path, target, why="entry of the root directory"))
    return out


def _skeleton(policy: Policy, root: Root) -> list[MountOp]:
    """Directories and small files that every sandbox has, before anything foreign."""
    operations: list[MountOp] = []
    for path in ("/proc", "/dev", "/dev/shm", "/dev/pts", "/dev/.masked", "/tmp"):
        _directory(path, root, operations)
    _parents(policy.work.path + "/.", root, operations)
    if root.overlay:
        for hidden in (LOWER, POINTS, MERGED, OVERLAY_STAGE):
            _directory(os.fsdecode(hidden), root, operations)
        operations.append(_bind(policy.rootfs.source, os.fsdecode(LOWER), HARD | _RDONLY, is_dir=True))
    operations.append(MountOp(kind=plans.MKFILE, target=b"/dev/.masked/file", mode=0o444))
    operations.append(MountOp(kind=plans.MKDIR, target=b"/dev/.masked/directory", mode=0o555))
    covers = (b"/dev/.masked/file", b"/dev/.masked/directory")
    operations += [MountOp(kind=plans.COVER, target=mask, attrs=HARD | NOEXEC | _RDONLY) for mask in covers]
    operations.append(MountOp(kind=plans.PROC, target=b"/proc"))
    if policy.rootfs.kind == "selected" and root.place_of("/etc") is None:
        _directory("/etc", root, operations)
        for name, text in etc_files(policy).items():
            if root.place_of(f"/etc/{name}") is None:
                operations.append(MountOp(kind=plans.MKFILE, target=os.fsencode(f"/etc/{name}"), mode=0o444, data=text.encode()))
                root.made.add(f"/etc/{name}")
    return operations


def _points(carried: dict[str, bool]) -> list[MountOp]:
    """Mount points for an overlay, in a layer of our own: path → whether it is a directory."""
    operations: list[MountOp] = []
    made: set[str] = set()
    for target, is_directory in sorted(carried.items()):
        parts = target.strip("/").split("/")
        for count in range(1, len(parts) + 1):
            path = "/".join(parts[:count])
            if path in made:
                continue
            made.add(path)
            point = POINTS + b"/" + os.fsencode(path)
            if count < len(parts) or is_directory:
                operations.append(MountOp(kind=plans.MKDIR, target=point, mode=0o755))
            else:
                operations.append(MountOp(kind=plans.MKFILE, target=point, mode=0o444))
    return operations


def etc_files(policy: Policy) -> dict[str, str]:
    """The few files of /etc that programs expect, about the sandbox and not about the host."""
    uid, gid, name = policy.identity.uid, policy.identity.gid, policy.identity.hostname
    home = dict(policy.environment.values).get("HOME", policy.work.path)
    return {
        "passwd": (
            f"root:x:0:0:root:/:/bin/sh\nsandbox:x:{uid}:{gid}:sandbox:{home}:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"
        ),
        "group": f"root:x:0:\nsandbox:x:{gid}:\nnogroup:x:65534:\n",
        "hosts": f"127.0.0.1 localhost {name}\n::1 localhost {name}\n",
        "hostname": f"{name}\n",
        "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    }


def _devices(policy: Policy) -> list[MountOp]:
    operations = []
    for name in policy.devices:
        if name not in DEVICES:
            raise wrong_at(policy, "dev.devices", f"the device {name!r} is not offered", f"one of {', '.join(sorted(DEVICES))}")
        major, minor = DEVICES[name]
        path = os.fsencode(f"/dev/{name}")
        operations.append(MountOp(kind=plans.MKFILE, target=path, mode=0o666))
        attrs = mounts.ATTR_NOSUID | NOEXEC | _RDONLY  # the node, not what it leads to: no times, no mode
        operations.append(MountOp(kind=plans.DEVICE, source=path, target=path, attrs=attrs, major=major, minor=minor))
    operations += [MountOp(kind=plans.SYMLINK, target=os.fsencode(f"/dev/{name}"), data=text.encode()) for name, text in _LINKS]
    return operations


def _directory(path: str, root: Root, operations: list[MountOp]) -> None:
    if path not in root.made:
        root.made.add(path)
        operations.append(MountOp(kind=plans.MKDIR, target=os.fsencode(path), mode=0o755))


def _parents(target: str, root: Root, operations: list[MountOp]) -> None:
    """Make the directories above `target` that are ours to make."""
    parts = target.strip("/").split("/")[:-1]
    for count in range(1, len(parts) + 1):
        path = "/" + "/".join(parts[:count])
        if root.place_of(path) is not None:
            return
        _directory(path, root, operations)


def _mount_point(place: Place, policy: Policy, root: Root, operations: list[MountOp]) -> None:
    """Make the mount point, or check that it exists when it lies in another place."""
    parent = root.place_of(os.path.dirname(place.target))
    if parent is not None and parent is not place:
        inside = parent.source + place.target[len(parent.target) :]
        exists = os.path.isdir(inside) if place.is_directory else os.path.isfile(inside)
        straight = os.path.realpath(parent.source) + place.target[len(parent.target) :]
        if not exists or os.path.realpath(inside) != straight:
            message = (
                f"the mount target {place.target!r} lies in the mount {parent.target!r} and does not exist there, or is a link"
            )
            hint = "create it on the host, or choose a target outside of other mounts"
            raise _wrong(policy, place.target, message, hint)
        return
    _parents(place.target, root, operations)
    if place.is_directory:
        _directory(place.target, root, operations)
    elif place.target not in root.made:
        root.made.add(place.target)
        operations.append(MountOp(kind=plans.MKFILE, target=os.fsencode(place.target), mode=0o444))

"""Where groups may be made: from texts as hosts of several kinds have them, and from trees of plain files."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.host import cgroups
from sandbox.host.cgroups import Hierarchy, Layout, parse_layout

HYBRID_MOUNTS = """\
24 1 0:22 / / rw,relatime - ext4 /dev/vda rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:7 - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
HYBRID_OWN = """\
9:name=systemd:/x
8:pids:/
4:memory:/service/a
1:cpu,cpuacct:/user.slice
0::/
"""


def test_a_hybrid_host_is_version_1():
    found = parse_layout(HYBRID_MOUNTS, HYBRID_OWN)
    assert found.version == 1
    owns = {name: group.own for group in found.legacy for name in group.controllers}
    assert owns == {
        "cpu": "/sys/fs/cgroup/cpu,cpuacct/user.slice",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct/user.slice",
        "memory": "/sys/fs/cgroup/memory/service/a",
        "pids": "/sys/fs/cgroup/pids",
    }
    assert found.unified is not None
    assert found.unified.own == "/sys/fs/cgroup/unified"


def test_a_container_sees_its_group_as_the_mounted_root():
    mounts = "50 40 0:30 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
    (group,) = parse_layout(mounts, "4:memory:/docker/abc/deep\n").legacy
    assert group.own == "/sys/fs/cgroup/memory/deep"


@pytest.mark.parametrize("path", ["/other", "/docker/abcd", "/../outside", ""])
def test_a_group_outside_of_the_mount_is_not_ours(path: str):
    mounts = "50 40 0:30 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
    found = parse_layout(mounts, f"4:memory:{path}\n").legacy
    assert [group.own for group in found] == [""]


def test_names_with_spaces_are_unescaped():
    mounts = r"50 40 0:30 /a\040b /mnt/c\134d rw - cgroup cgroup rw,memory" + "\n"
    (group,) = parse_layout(mounts, "4:memory:/a b/c\n").legacy
    assert group.own == "/mnt/c\\d/c"


@pytest.mark.parametrize("text", ["", "garbage\n", "1 2 3 - cgroup2\n", "\n\n- - -\n", "x" * 5000])
def test_broken_tables_mean_nothing_is_there(text: str):
    assert parse_layout(text, text) == Layout(0, None, ())


class Tree:
    """A cgroup2 tree of plain files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.group("", "memory pids cpu io")
        (root / "cgroup.type").unlink()

    def group(self, path: str, controllers: str = "memory pids cpu", processes: str = "", kind: str = "domain") -> str:
        place = self.root / path
        place.mkdir(parents=True, exist_ok=True)
        (place / "cgroup.controllers").write_text(controllers + "\n")
        (place / "cgroup.procs").write_text(processes)
        (place / "cgroup.subtree_control").write_text("")
        (place / "cgroup.type").write_text(kind + "\n")
        return str(place)

    def places(self, own: str) -> list[tuple[str, str]]:
        unified = Hierarchy(frozenset(), str(self.root), "/", str(self.root / own) if own else str(self.root))
        found = cgroups.places(Layout(2, unified, ()))
        return [(place.kind, place.directory.removeprefix(str(self.root)).lstrip("/")) for place in found]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    monkeypatch.delenv("SANDBOX_CGROUP", raising=False)
    monkeypatch.setattr(cgroups, "systemd_runs", lambda: True)
    monkeypatch.setattr(cgroups, "scope_prefix", lambda: ("systemd-run", "--"))
    monkeypatch.setattr(cgroups, "is_delegated_unit", lambda directory: "delegated" in directory.rsplit("/", 1)[1])
    monkeypatch.setattr(cgroups, "may_manage", _may_manage)
    return Tree(tmp_path)


def _may_manage(directory: str) -> bool:
    """The tests run as root too, who may write everywhere: a group named root's stands for one that is not ours."""
    return "root" not in directory.rsplit("/", 1)[1] and (Path(directory) / "cgroup.procs").exists()


def test_a_delegated_unit_is_used_itself(tree: Tree):
    tree.group("root.slice/delegated.service", processes="12\n")
    assert tree.places("root.slice/delegated.service")[0] == ("own", "root.slice/delegated.service")


def test_after_the_move_the_unit_above_is_the_place(tree: Tree):
    tree.group("root.slice/delegated.service")
    tree.group("root.slice/delegated.service/caller", processes="12\n")
    assert tree.places("root.slice/delegated.service/caller")[0] == ("empty", "root.slice/delegated.service")


def test_a_unit_that_was_not_delegated_is_the_last_resort(tree: Tree):
    tree.group("root.slice/foreign.service", processes="12\n")
    assert [kind for kind, _ in tree.places("root.slice/foreign.service")] == ["scope", "foreign"]


def test_the_slices_of_the_manager_are_never_taken(tree: Tree):
    tree.group("root.slice/app.slice")
    tree.group("root.slice/app.slice/foreign.service", processes="12\n")
    directories = [directory for _, directory in tree.places("root.slice/app.slice/foreign.service")]
    assert "root.slice/app.slice" not in directories


def test_in_a_session_only_a_scope_is_left(tree: Tree):
    tree.group("root-session.scope", processes="12\n")
    assert tree.places("root-session.scope") == [("scope", "")]


def test_without_systemd_a_writable_group_is_ours(tree: Tree, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cgroups, "systemd_runs", lambda: False)
    monkeypatch.setattr(cgroups, "scope_prefix", tuple)
    tree.group("root/mine", processes="12\n")
    assert tree.places("root/mine") == [("own", "root/mine")]


def test_a_given_group_is_the_only_place(tree: Tree, monkeypatch: pytest.MonkeyPatch):
    given = tree.group("root/given")
    monkeypatch.setenv("SANDBOX_CGROUP", given)
    assert tree.places("root/mine") == [("given", "root/given")]
    monkeypatch.setenv("SANDBOX_CGROUP", "relative")
    assert tree.places("root/mine") == []


def test_a_threaded_group_cannot_be_used(tmp_path: Path):
    group = Tree(tmp_path).group("threads", kind="threaded")
    assert not cgroups.may_manage(group)
    assert cgroups.may_manage(Tree(tmp_path).group("plain"))


def test_enough_means_memory_and_pids():
    assert cgroups.Place("own", "/x", frozenset({"memory", "pids"})).is_enough
    assert not cgroups.Place("own", "/x", frozenset({"memory", "cpu"})).is_enough


def test_the_prefix_finds_the_manager_without_the_callers_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "systemd").mkdir()
    (tmp_path / "systemd" / "private").touch()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(cgroups.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(cgroups, "_tool", lambda name: f"/usr/bin/{name}")
    prefix = cgroups.scope_prefix()
    assert prefix[:4] == ("/usr/bin/env", f"XDG_RUNTIME_DIR={tmp_path}", "/usr/bin/systemd-run", "--user")
    assert prefix[-1] == "--"
    assert "Delegate=yes" in prefix
    (tmp_path / "systemd" / "private").unlink()
    assert cgroups.scope_prefix() == ()

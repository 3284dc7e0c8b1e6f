from __future__ import annotations

import os
from pathlib import Path

import pytest

from sandbox import PolicyError, Profile, ProfileError
from sandbox.policy import load
from sandbox.policy.profile import available
from sandbox.policy.tighten import tighten_limits

SHIPPED = ("base", "compile", "default", "native", "node", "python", "strict", "system")


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_profiles_load_and_enforce_the_hard_core(name: str) -> None:
    policy = Profile.load(name).policy
    assert policy.name == name
    assert policy.description
    assert policy.identity.uid != 0
    assert policy.capabilities == ()
    assert policy.cgroup.requirement == "required"
    assert policy.landlock == "required"
    assert policy.network == "none"
    assert "/proc/kcore" in policy.masked_paths
    assert not [mount for mount in policy.mounts if mount.writable]
    assert not policy.rootfs.writable


def test_all_shipped_profiles_can_be_named() -> None:
    assert set(SHIPPED) <= set(available())


@pytest.mark.parametrize(
    ("text", "path", "line", "words"),
    [
        ('[limits]\nmemry = "1MiB"', "limits.memry", 2, ("unknown key", "did you mean 'memory'")),
        ('[limits]\n\nmemory = "1XB"', "limits.memory", 3, ("expected a size such as 256MiB", "'1XB'")),
        ('[limits]\nmemory = "9999999GiB"', "limits.memory", 2, ("from 0 to 1048576GiB",)),
        ('[limits]\nwall = "721h"', "limits.wall", 2, ("from 0 to 720h",)),
        ("[limits]\ncpu = 5", "limits.cpu", 2, ("expected a duration with its unit",)),
        ("[limits]\npids = true", "limits.pids", 2, ("whole number",)),
        ("[limits]\npids = 0", "limits.pids", 2, ("more than 0",)),
        ("[limits]\npids = -1", "limits.pids", 2, ("whole number",)),
        ("[limits]\ncpu_quota = nan", "limits.cpu_quota", 2, ("number of CPUs",)),
        ("[limits]\ncpu_quota = inf", "limits.cpu_quota", 2, ("number of CPUs",)),
        ('[network]\nmode = "host"', "network.mode", 2, ("expected 'none' or 'loopback'",)),
        ('[network]\nmode = "loopbak"', "network.mode", 2, ("did you mean 'loopback'",)),
        ("[identity]\nuid = 0", "identity.uid", 2, ("from 1 to 65533, not 0",)),
        ('[identity]\nuid = "1000"', "identity.uid", 2, ("whole number", "'1000'")),
        ("[namespaces]\nnet = false", "namespaces.net", 2, ("cannot be shared", "say true")),
        ('extends = "defualt"', "extends", 1, ("did you mean 'default'",)),
        ('[seccomp]\ngroups = ["fils"]', "seccomp.groups", 2, ("did you mean 'files'",)),
        ('[seccomp]\nsocket_families = ["AF_INTE"]', "seccomp.socket_families", 2, ("did you mean",)),
        ('[[mounts]]\nsource = "/a"\nwritable = true', "mounts[0]", 1, ("must say why",)),
        ('[[mounts]]\nsource = "/a"\n[[mounts]]\nsource = "/a"', "mounts[1]", 3, ("second mount",)),
        ('[[mounts]]\nsource = "/a/../etc"', "mounts[0].source", 2, ("clean absolute path",)),
        ('[[mounts]]\nsource = "relative"', "mounts[0].source", 2, ("absolute path",)),
        ('[process]\ncwd = "/nowhere"', "process.cwd", 2, ("no writable place",)),
        ('[rootfs]\nkind = "directory"', "rootfs.kind", 2, ("rootfs.source",)),
        ("[rootfs]\nwritable = true", "rootfs.writable", 2, ("goes only with",)),
        ('[work]\npath = "/proc/x"', "work.path", 2, ("made anew",)),
        ('[limits]\nidle = "1h"', "limits.idle", 2, ("could never be hit",)),
        ('[paths]\nmasked = ["/proc/../etc"]', "paths.masked[0]", 2, ("clean absolute path",)),
        ('[mounts]\nsource = "/a"', "mounts", 1, ("expected a list of tables, not a table", "write [[mounts]]")),
        ('[seccomp.rules]\nwhy = "x"', "seccomp.rules", 1, ("write [[seccomp.rules]]",)),
        ('mounts = ["/a"]', "mounts[0]", 1, ("expected a table, not '/a'", "write [[mounts]]")),
        ('[[limits]]\ncpu = "1s"', "limits", 1, ("expected a table, not a list", "write [limits]")),
        ("limits = 5", "limits", 1, ("expected a table, not 5",)),
        ('[[mounts]]\ntarget = "/a"', "mounts[0].source", 1, ("must be said",)),
        ('[work]\nexecutable = "yes"', "work.executable", 2, ("expected true or false, not 'yes'",)),
        ("[scratch]\ntmp = 1", "scratch.tmp", 2, ("expected true or false, not 1",)),
        ("[work]\npath = true", "work.path", 2, ("expected an absolute path",)),
        ("description = true", "description", 1, ("expected a text in quotes, not true",)),
        ('[paths]\nmasked = "/x"', "paths.masked", 2, ("expected a list in brackets, not '/x'",)),
        ("[environment]\nset = 3", "environment.set", 2, ("expected a table, not 3",)),
        ('[environment.set]\n"1A" = "x"', "environment.set.1A", 2, ("name of a variable",)),
        ('[identity]\nhostname = "a b"', "identity.hostname", 2, ("expected a host name",)),
        ('[process]\numask = "077"', "process.umask", 2, ("from 0o0 to 0o777",)),
        ("[cgroup]\ncpus = [-1]", "cgroup.cpus[0]", 2, ("whole number from 0",)),
        (
            '[capabilities]\nkeep = ["CAP_KILL", "CAP_SYSADMIN"]',
            "capabilities.keep",
            2,
            ("'CAP_SYSADMIN'", "did you mean 'CAP_SYS_ADMIN'"),
        ),
    ],
)
def test_each_mistake_names_its_place_and_what_was_expected(text: str, path: str, line: int, words: tuple[str, ...]) -> None:
    with pytest.raises(ProfileError) as caught:
        Profile.parse(text)
    assert caught.value.path == path
    assert caught.value.line == line
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_several_mistakes_are_all_told() -> None:
    with pytest.raises(ProfileError) as caught:
        Profile.parse("foo = 1\n[limits]\nbar = 2\nbaz = 3")
    assert all(word in str(caught.value) for word in ("'foo'", "'bar'", "'baz'", "more"))


def test_syntax_errors_have_a_line() -> None:
    with pytest.raises(ProfileError) as caught:
        Profile.parse("[limits]\nmemory = = 3")
    assert caught.value.line == 2


def test_files_that_are_no_profiles_do_not_hang(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo.toml"
    os.mkfifo(fifo)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"a = 1\n\xff\xfe")
    large = tmp_path / "large.toml"
    large.write_bytes(b"#" * (load.MAX_FILE_BYTES + 1))
    missing = tmp_path / "no.toml"
    cases = ((fifo, "regular"), (binary, "UTF-8"), (large, "larger"), (tmp_path, "regular"), (missing, "cannot be read"))
    for file, words in cases:
        with pytest.raises(ProfileError, match=words):
            Profile.load(f"{file}/" if file.is_dir() else str(file))


def test_a_loop_of_extends_ends(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('extends = "./b.toml"')
    (tmp_path / "b.toml").write_text('extends = "./a.toml"')
    with pytest.raises(ProfileError, match="loop"):
        Profile.load(str(tmp_path / "a.toml"))


def test_layers_add_and_replace(tmp_path: Path) -> None:
    (tmp_path / "parent.toml").write_text(
        'extends = "system"\n[environment.set]\nA = "1"\nB = "1"\n'
        '[[mounts]]\nsource = "/opt"\n[paths]\nmasked = ["/usr/secret"]\n'
    )
    (tmp_path / "child.toml").write_text(
        'extends = "./parent.toml"\n[environment.set]\nB = "2"\n[[mounts]]\nsource = "/srv"\ntarget = "/opt"\n'
        '[paths]\nunmasked = ["/proc/keys"]\n[seccomp]\nwithout = ["events"]\n'
    )
    policy = Profile.load(str(tmp_path / "child.toml")).policy
    environment = dict(policy.environment.values)
    assert (environment["A"], environment["B"]) == ("1", "2")
    assert [mount.source for mount in policy.mounts if mount.target == "/opt"] == ["/srv"]
    assert "/usr/secret" in policy.masked_paths
    assert "/proc/keys" not in policy.masked_paths
    assert not [rule for rule in policy.seccomp.rules if rule.group == "events"]
    assert policy.origins["environment.set"].file.endswith("child.toml")


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('extends = "system"\n[limits]\npids = 5\n')
    assert Profile.load(str(file)).policy.limits.pids == 5
    file.write_text('extends = "system"\n[limits]\npids = 77\n')
    assert Profile.load(str(file)).policy.limits.pids == 77


def test_the_callers_own_directory_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / "sandbox" / "profiles"
    directory.mkdir(parents=True)
    (directory / "default.toml").write_text('extends = "strict"\ndescription = "mine"\n')
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert Profile.load("default").policy.description == "mine"


@pytest.mark.parametrize(
    ("overrides", "field", "value"),
    [
        ({"memory": "64MiB"}, "limits.memory_bytes", 64 << 20),
        ({"limits.wall": "500ms"}, "limits.wall_ns", 500_000_000),
        ({"idle": "2s"}, "limits.idle_ns", 2_000_000_000),
        ({"seccomp.socket_families": "AF_UNIX"}, "seccomp.socket_families", ("AF_UNIX",)),
        ({"dev.devices": ["null"]}, "devices", ("null",)),
        ({"work.executable": "false"}, "work.executable", False),
        ({"paths.proc": "pids"}, "proc", "pids"),
        ({"identity.id_map": "ranges"}, "identity.id_map", "ranges"),
        ({"hostname": "other"}, "identity.hostname", "other"),
        ({"process.umask": "777"}, "umask", 0o777),
        ({"cgroup.cpus": "0"}, "cgroup.cpus", (0,)),
    ],
)
def test_callers_can_tighten(overrides: dict[str, object], field: str, value: object) -> None:
    found: object = Profile.load("default").tightened(overrides).policy
    for part in field.split("."):
        found = getattr(found, part)
    assert found == value


def test_half_an_hour_can_be_said_in_nanoseconds() -> None:
    half = 1800 * 10**9
    long = Profile.from_dict({"extends": "default", "limits": {"wall": "4h"}, "why": {"limits.wall": "a test"}}, "long")
    assert tighten_limits(long.policy.limits, {"wall_ns": half}).wall_ns == half


@pytest.mark.parametrize(
    "overrides",
    [
        {"memory": "1GiB"},
        {"pids": 100000},
        {"pids": 0},
        {"cpu_quota": 0},
        {"network": "loopback"},
        {"cgroup.requirement": "best_effort"},
        {"landlock.requirement": "if_present"},
        {"work.follow_symlinks": True},
        {"scratch.executable": True},
        {"seccomp.socket_families": ["AF_NETLINK"]},
        {"capabilities.keep": ["CAP_SYS_ADMIN"]},
        {"identity.uid": 0},
        {"process.umask": 0},
        {"environment.inherit": ["SECRET"]},
        {"seccomp.deny": ["execve"]},
        {"seccomp.groups": ["start", "nonsense"]},
        {"mounts": []},
        {"nonsense": 1},
    ],
)
def test_callers_cannot_loosen(overrides: dict[str, object]) -> None:
    with pytest.raises(PolicyError) as caught:
        Profile.load("default").tightened(overrides)
    assert caught.value.path
    assert "\n" not in str(caught.value)


def test_taking_groups_away_never_uncovers_an_older_rule() -> None:
    text = 'extends = "system"\n[[seccomp.rules]]\nsyscalls = ["getpid"]\naction = "errno"\nwhy = "test"\n'
    policy = Profile.parse(text).tightened({"seccomp.groups": ["start", "files", "write"]}).policy
    rules = [rule for rule in policy.seccomp.rules if "getpid" in rule.syscalls]
    assert rules[-1].action == "errno"


def test_mounts_are_granted_by_the_caller(tmp_path: Path) -> None:
    from sandbox import Mount, RequestError

    mount = Mount(source=str(tmp_path), target="/data", writable=False, executable=False, requirement="required", why="")
    profile = Profile.load("default").with_mounts([mount])
    assert profile.granted == ("/data",)
    assert mount in profile.policy.mounts
    with pytest.raises(RequestError):
        relative = Mount(source="x", target="/data", writable=False, executable=False, requirement="required", why="")
        Profile.load("default").with_mounts([relative])


def test_explain_says_where_each_part_came_from() -> None:
    from sandbox.policy.explain import explain

    rows = explain(Profile.load("python").tightened(pids=7))
    by_key = {row.key: row for row in rows}
    assert by_key["limits.memory"].origin.split(":")[0].endswith("python.toml")
    assert by_key["limits.pids"].origin == "<override>"
    assert by_key["limits.pids"].text.startswith("7")
    assert {"identity", "files", "system calls", "limits", "network"} <= {row.section for row in rows}


def test_lint_finds_what_is_weaker_without_a_reason(tmp_path: Path) -> None:
    from sandbox.policy.lint import lint

    file = tmp_path / "weak.toml"
    file.write_text(
        'extends = "system"\n[limits]\nmemory = "2GiB"\n[seccomp]\nsocket_families = ["AF_NETLINK"]\n'
        '[[seccomp.rules]]\nsyscalls = ["mount"]\naction = "allow"\nwhy = "no"\n'
        '[[mounts]]\nsource = "/var"\nwritable = true\nwhy = "x"\n'
    )
    findings = lint(str(file))
    errors = {item.path for item in findings if item.severity == "error"}
    assert {"limits.memory", "seccomp.socket_families", "seccomp.rules"} <= errors
    assert any(item.path.startswith("mounts") for item in findings)
    assert all(item.fix for item in findings)


@pytest.mark.parametrize("name", [name for name in SHIPPED if name != "base"])
def test_shipped_profiles_have_nothing_to_remark(name: str) -> None:
    from sandbox.policy.lint import lint

    assert lint(name) == ()


def test_diff_tells_which_side_allows_more() -> None:
    from sandbox.policy.diff import diff

    left, right = Profile.load("default").policy, Profile.load("compile").policy
    directions = {item.key: item.direction for item in diff(left, right)}
    assert directions["limits.memory"] == "looser"
    assert {item.direction for item in diff(right, left) if item.key == "limits.memory"} == {"tighter"}
    assert diff(left, left) == ()

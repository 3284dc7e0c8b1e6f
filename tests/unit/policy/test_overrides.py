"""What a caller can change: overrides, limits, mounts; and the words of a refusal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox import Mount, PolicyError, Profile, RequestError
from sandbox.policy.diff import diff
from sandbox.policy.mounts import parse_mount
from sandbox.policy.tighten import known_keys

DEFAULT = Profile.load("default")
SLOW = Profile.parse('extends = "default"\n[cgroup]\nio_per_second = "10MiB"\n')


def refusal(change: Callable[[], object]) -> str:
    with pytest.raises(PolicyError) as caught:
        change()
    return str(caught.value)


@pytest.mark.parametrize(
    ("profile", "value", "bytes_per_second"),
    [(DEFAULT, "5MiB", 5 << 20), (DEFAULT, 0, 0), (SLOW, "5MiB", 5 << 20), (SLOW, 10 << 20, 10 << 20)],
)
def test_disk_bandwidth_can_be_lowered_or_set(profile: Profile, value: object, bytes_per_second: int) -> None:
    assert profile.tightened({"cgroup.io_per_second": value}).policy.cgroup.io_bytes_per_second == bytes_per_second


def test_disk_bandwidth_cannot_be_raised_or_taken_away() -> None:
    said = refusal(lambda: SLOW.tightened({"cgroup.io_per_second": "20MiB"}))
    assert said.startswith("cgroup.io_per_second: 20MiB would be more than the profile's 10MiB")
    assert "no bound would be more than" in refusal(lambda: SLOW.tightened({"cgroup.io_per_second": 0}))
    assert "a size such as" in refusal(lambda: SLOW.tightened({"cgroup.io_per_second": "fast"}))


def test_disk_bandwidth_has_a_direction() -> None:
    directions = [(item.key, item.direction) for item in (*diff(DEFAULT.policy, SLOW.policy), *diff(SLOW.policy, DEFAULT.policy))]
    assert directions == [("cgroup.io_per_second", "tighter"), ("cgroup.io_per_second", "looser")]


@pytest.mark.parametrize("name", ["uid", "gid"])
def test_ids_are_free_but_never_root_or_nobody(name: str) -> None:
    for value, expected in ((1, 1), ("65533", 65533), (1234, 1234)):
        assert getattr(DEFAULT.tightened({f"identity.{name}": value}).policy.identity, name) == expected
    for value in (0, 65534, -1, "x", True, 1.5, None, "0x10"):
        assert "from 1 to 65533" in refusal(lambda value=value: DEFAULT.tightened({f"identity.{name}": value}))


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"cpu_quota": 4}, "limits.cpu_quota: 4 would be more than the profile's 1;"),
        ({"cpu_quota": 0}, "limits.cpu_quota: no bound would be more than the profile's 1;"),
        ({"wall": "25s"}, "limits.wall: 25s would be more than the profile's 20s;"),
        ({"memory_bytes": 300 << 20}, "limits.memory: 300MiB would be more than the profile's 256MiB;"),
        ({"pids": 65}, "limits.pids: 65 would be more than the profile's 64;"),
    ],
)
def test_refused_limits_have_units(limits: dict[str, object], words: str) -> None:
    assert refusal(lambda: DEFAULT.tightened_limits(limits)).startswith(words)


def test_a_limit_of_a_sandbox_is_not_called_the_profiles() -> None:
    outer = DEFAULT.tightened_limits({"wall": "5s"})
    assert refusal(lambda: DEFAULT.tightened_limits({"wall": "6s"}, outer)) == (
        "limits.wall: 6s would be more than the Sandbox's 5s; a call can only lower them"
    )
    assert "the Sandbox's 5s" in refusal(lambda: DEFAULT.tightened_limits(DEFAULT.policy.limits, outer))


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("environment.FOO", "use env="),
        ("environment.set.FOO", "use env="),
        ("mounts", "use mounts="),
        ("mount.x", "did you mean"),
    ],
)
def test_what_is_said_in_another_way(key: str, hint: str) -> None:
    assert hint in refusal(lambda: DEFAULT.tightened({key: "x"}))


@pytest.mark.parametrize("key", ["paths.masked", "paths.readonly"])
def test_covering_what_a_run_needs_is_refused(key: str) -> None:
    for path in ("/work", "/tmp", "/proc", "/dev", "/"):
        assert "would take away" in refusal(lambda path=path: DEFAULT.tightened({key: [path]}))
    for path in ("usr", "/usr/../etc", "/usr//lib", "/usr/"):
        assert "no clean absolute path" in refusal(lambda path=path: DEFAULT.tightened({key: [path]}))
    assert (
        "/usr/share"
        in DEFAULT.tightened({key: "/usr/share"}).policy.masked_paths
        + DEFAULT.tightened({key: "/usr/share"}).policy.readonly_paths
    )


def test_a_group_without_which_nothing_starts_stays() -> None:
    assert "nothing can be executed without 'execve'" in refusal(lambda: DEFAULT.tightened({"seccomp.groups": "files,write"}))


def test_a_denial_stays_when_groups_are_taken_away_after_it() -> None:
    groups = ["start", "files", "write", "sockets"]
    policy = DEFAULT.tightened({"seccomp.deny": ["socket", "getpid"], "seccomp.groups": groups}).policy
    denied = [rule for rule in policy.seccomp.rules if rule.group == "override:seccomp.deny"]
    assert {name for rule in denied for name in rule.syscalls} == {"socket", "getpid"}


@pytest.mark.parametrize(("text", "bits"), [("0o777", 0o777), ("077", 0o077), (0o177, 0o177)])
def test_an_umask_can_be_written_as_it_is_shown(text: object, bits: int) -> None:
    assert DEFAULT.tightened({"process.umask": text}).policy.umask == bits


def test_the_umask_in_a_refusal_is_octal() -> None:
    assert "0o022 would leave out bits of the profile's 0o077" in refusal(lambda: DEFAULT.tightened({"process.umask": 0o022}))


def test_every_key_is_documented() -> None:
    text = (Path(__file__).resolve().parents[3] / "docs" / "profiles.md").read_text(encoding="utf-8")
    section = text[text.index("## What a caller can change") :]
    assert [key for key in known_keys() if f"`{key}`" not in section and not key.startswith("limits.")] == []


def test_a_mount_needs_only_its_source() -> None:
    mount = Mount("/srv/data")
    assert (mount.target, mount.writable, mount.executable, mount.requirement, mount.why) == (
        "/srv/data",
        False,
        True,
        "required",
        "",
    )
    assert Mount("/srv", "/data") == Mount(source="/srv", target="/data")
    with pytest.raises(TypeError):
        Mount("/srv", "/data", True)  # type: ignore[misc]


def test_mounts_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    source = str(tmp_path / "data")
    assert parse_mount("data") == Mount(source)
    assert parse_mount("./data:/data") == Mount(source, "/data")
    assert parse_mount("data:rw") == Mount(source, writable=True)
    assert parse_mount("data:/d:rw,noexec") == Mount(source, "/d", writable=True, executable=False)
    for wrong in (
        "",
        ":",
        "data:/a:/b:ro",
        "data:/a:rw,ro",
        "data:/a:exec,noexec",
        "data:relative",
        "data:/a//b",
        "data:/a/../b",
        "no",
    ):
        with pytest.raises(RequestError, match="mount"):
            parse_mount(wrong)


def test_a_profile_takes_mounts_as_text_too(tmp_path: Path) -> None:
    profile = DEFAULT.with_mounts([f"{tmp_path}:/data", Mount("/srv")])
    assert profile.granted == ("/data", "/srv")
    assert profile.policy.mounts[-2:] == (Mount(str(tmp_path), "/data"), Mount("/srv"))
    assert profile.policy.origins["mounts[/data]"].file == "<override>"
    for wrong in (f"{tmp_path}:/data", Mount("/srv")):
        with pytest.raises(RequestError, match="must be a list"):
            DEFAULT.with_mounts(wrong)  # type: ignore[arg-type]
    for wrong in (Mount("srv"), Mount("/srv", "/a//b"), Mount("/srv", "/"), Mount("/srv/../etc"), 5):
        with pytest.raises(RequestError, match="mount"):
            DEFAULT.with_mounts([wrong])  # type: ignore[list-item]
    assert [mount.source for mount in DEFAULT.with_mounts([Mount("/opt", "/usr")]).policy.mounts if mount.target == "/usr"] == [
        "/opt"
    ]


def test_removing_a_mount_never_uncovers_another() -> None:
    mounts = [{"source": "/usr", "why": "w"}, {"source": "/opt", "target": "/usr/games", "why": "covers"}]
    profile = Profile.from_dict({"extends": "base", "mounts": mounts})
    with pytest.raises(PolicyError, match="would uncover"):
        profile.tightened({"mounts.remove": "/usr/games"})
    assert profile.tightened({"mounts.remove": "/usr,/usr/games"}).policy.mounts == ()
    assert [item.target for item in profile.tightened({"mounts.remove": "/usr"}).policy.mounts] == ["/usr/games"]

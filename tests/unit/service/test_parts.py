"""The small parts of the service: versions, limits, what is kept, keys, tokens, failures, settings. No sandbox is started."""

from __future__ import annotations

import asyncio
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.model.errors import (
    CapacityError,
    CommandNotFound,
    LauncherDied,
    PolicyError,
    ProtocolError,
    RequestError,
    UnsupportedHostError,
)
from sandbox.service import ceilings, config, failures, tokens, versions
from sandbox.service.access import Access, token_of
from sandbox.service.config import Config
from sandbox.service.failures import Rejected
from sandbox.service.guard import Shares
from sandbox.service.kept import Kept
from sandbox.service.live import Handle, Stdin
from sandbox.service.replays import Replays
from sandbox.service.streams import Outbox
from sandbox.service.tenant import Tenant


@pytest.mark.parametrize(
    ("selector", "fits"),
    [
        ("*", True), ("", True), ("x", True), ("3", True), ("3.x", True), ("3.11", True), ("3.11.2", True), ("=3.11.2", True),
        ("v3.11.2", True), ("^3.8", True), ("^3.11.3", False), ("~3.11.0", True), ("~3.10", False), (">=3.6 <4", True),
        (">= 3.12", False), ("<3.11", False), ("<=3.11", True), (">3.11", False), (">3.10", True), ("2 || 3", True),
        ("1.0.0 - 3.11", True), ("3.12 - 4", False), ("4", False), ("3.11.1", False), ("latest", True), ("abc", False),
        ("3.11.2.1", False), ("^", False), ("3 11", False), ("^0.3", False), ("x" * 1000, False), ("3\n", True),
    ],
)  # fmt: skip
def test_versions_are_selected_as_npm_does(selector, fits):
    assert versions.matches("3.11.2", selector) is fits


def test_a_caret_holds_the_first_number_that_is_not_zero():
    assert versions.matches("0.3.9", "^0.3.1")
    assert not versions.matches("0.4.0", "^0.3.1")


@given(st.text(max_size=200))
def test_no_selector_breaks_it(selector):
    assert versions.matches("1.2.3", selector) in (True, False)


@pytest.mark.parametrize(
    ("banner", "version"),
    [
        ("Python 3.11.2", "3.11.2"),
        ("g++ (Debian 12.2.0-14) 12.2.0", "12.2.0"),
        ("Lua 5.4", "5.4.0"),
        ("javac 17", "17.0.0"),
        ("go version go1.19.8 linux/amd64", "1.19.8"),
        ("", "0.0.0"),
    ],
)
def test_versions_are_found_in_banners(banner, version):
    assert versions.of_banner(banner) == version


def test_limits_are_read_by_both_names():
    assert ceilings.parse({"memory": "64MiB", "wall_ns": 5}) == {"memory_bytes": 64 << 20, "wall_ns": 5}
    for wrong in ({"momory": 1}, {"memory": "much"}, {"memory": -1}, {"pids": 0}, {"wall": True}, {"memory": 1 << 200}):
        with pytest.raises(ValueError, match="limit"):
            ceilings.parse(wrong)


def test_nothing_above_the_ceiling():
    ceiling = {"memory_bytes": 100, "idle_ns": 50, "cpu_quota_millicpus": 0}
    assert ceilings.within(ceiling, {"memory_bytes": 100, "pids": 5, "cpu_quota": 2}) == {
        "memory_bytes": 100,
        "pids": 5,
        "cpu_quota_millicpus": 2000,
    }
    for above in ({"memory_bytes": 101}, {"idle_ns": 51}, {"idle": 0}):
        with pytest.raises(PolicyError, match="this server allows"):
            ceilings.within(ceiling, above)


@given(st.lists(st.dictionaries(st.sampled_from(["memory_bytes", "idle_ns", "pids"]), st.integers(0, 9)), max_size=4))
def test_the_lowest_of_all(parts):
    lowest = ceilings.lowest(*parts)
    for field in ("memory_bytes", "idle_ns", "pids"):
        said = [part[field] for part in parts if field in part]
        bounds = [number for number in said if number or field != "idle_ns"]
        assert lowest.get(field) == (min(bounds) if bounds else (0 if said else None))


def test_what_is_kept_is_bounded_in_every_way():
    now = [0.0]
    kept: Kept[str] = Kept(2, 10, 5.0, clock=lambda: now[0])
    for name, size in (("a", 1), ("b", 1), ("c", 1)):
        kept.put("me", name, name, size)
    assert (kept.get("me", "a"), kept.get("me", "b"), kept.get("me", "c")) == (None, "b", "c")
    kept.put("me", "big", "big", 11)
    assert kept.get("me", "big") is None
    kept.put("me", "large", "large", 10)
    assert (kept.get("me", "c"), kept.get("me", "large"), len(kept)) == (None, "large", 1)
    now[0] = 5.0
    assert kept.get("me", "large") is None
    kept.put("you", "x", "x", 1)
    assert len(kept) == 1


def test_who_keeps_most_makes_room_for_the_others():
    kept: Kept[str] = Kept(4, 100, 5.0)
    kept.put("small", "first", "kept", 1)
    for number in range(10):
        kept.put("large", str(number), "", 40)
    assert kept.get("small", "first") == "kept"
    assert [kept.get("large", str(number)) for number in (7, 8, 9)] == [None, "", ""]
    for number in range(10):
        kept.put("many", str(number), "", 0)
    assert kept.get("small", "first") == "kept"
    assert len(kept) == 4
    kept.drop("small", "nothing")
    kept.drop("nobody", "nothing")
    assert len(kept) == 4


def test_one_tenant_has_half_of_what_all_share():
    shares = Shares(10, least=3)
    assert shares.take("a", 5)
    assert not shares.take("a", 1)
    assert shares.take("b", 5)
    assert not shares.take("c", 1), "there is no more"
    shares.give_back("b", 5)
    assert shares.take("c", 3)
    assert Shares(4, least=3).take("a", 3), "one of its kind is always possible"
    assert Shares(10).take("a", 10, alone=True)


def test_a_key_that_fails_may_be_tried_again_and_one_that_does_not_is_carried_out_once():
    async def play():
        replays = Replays(Config(no_auth=True))
        calls = []

        async def make() -> bytes:
            calls.append(1)
            await asyncio.sleep(0)
            if len(calls) == 1:
                raise RequestError("no")
            return b"made"

        first = asyncio.ensure_future(replays.once("t", "k", b"body", make))
        joined = asyncio.ensure_future(replays.once("t", "k", b"body", make))
        await asyncio.wait((first, joined))
        assert isinstance(first.exception(), RequestError)
        assert isinstance(joined.exception(), Rejected)
        assert joined.exception().status == 503
        assert [await replays.once("t", "k", b"body", make) for _ in range(2)] == [b"made"] * 2
        assert await replays.once("other", "k", b"x", make) == b"made"
        assert len(calls) == 3
        with pytest.raises(Rejected) as reused:
            await replays.once("t", "k", b"another", make)
        assert reused.value.status == 422

    asyncio.run(play())


def test_an_outbox_has_room_for_so_much_and_for_the_last_word():
    async def play():
        outbox = Outbox(1000)
        for _ in range(2):
            outbox.put("stdout", {}, 200)
        with pytest.raises(Rejected, match="not read"):
            outbox.put("stdout", {}, 200)
        outbox.put("result", b"{}", 10**6, last=True)
        assert [(await outbox.get())[0] for _ in range(3)] == ["stdout", "stdout", "result"]
        assert await outbox.get(0.001) is None

    asyncio.run(play())


def test_stdin_waits_for_who_reads_it():
    async def play():
        stdin = Stdin(held=4)
        await stdin.put(b"abcd")
        more = asyncio.ensure_future(stdin.put(b"e"))
        await asyncio.sleep(0)
        assert not more.done()
        stdin.key(b"\x03")
        pieces = stdin.__aiter__()
        assert [await anext(pieces), await anext(pieces)] == [b"abcd", b"\x03"]
        await more
        await stdin.end()
        assert [piece async for piece in pieces] == [b"e"]
        await stdin.put(b"late")

    asyncio.run(play())


def test_keys_of_a_terminal_and_other_signals():
    pressed = []
    handle = Handle(pressed.append)
    handle.send_signal(2)
    assert (pressed, handle.canceled) == ([b"\x03"], False)
    handle.send_signal(9)
    assert handle.canceled


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (RequestError("x"), 400, "request"),
        (PolicyError("x"), 400, "policy"),
        (CommandNotFound("x"), 400, "command_not_found"),
        (CapacityError("x"), 503, "capacity"),
        (LauncherDied("x"), 503, "launcher_died"),
        (ProtocolError("x"), 500, "protocol"),
        (UnsupportedHostError("a", "b", "c"), 500, "unsupported_host"),
        (ValueError("/secret/path"), 500, "internal"),
    ],
)
def test_what_errors_become(error, status, code):
    failure = failures.of(error)
    assert (failure.status, failure.code) == (status, code)
    assert "/secret" not in json.dumps(failure.to_dict("id"))
    assert ("Retry-After" in failure.headers) == (status == 503)


def test_tokens_are_told_once_and_kept_as_digests(tmp_path):
    path = tmp_path / "below" / "tokens.json"
    token = tokens.add(path, "alice", scopes=("run", "metrics"), limits={"memory": "64MiB"}, concurrency=2)
    access = Access(Config(tokens_file=path))
    tenant = access.authenticate({"authorization": f"bearer {token}"}, "127.0.0.1")
    assert (tenant.name, tenant.concurrency, dict(tenant.limits)) == ("alice", 2, {"memory": "64MiB"})
    tenant.need("metrics")
    with pytest.raises(RequestError, match="no scope"):
        tenant.need("grade")
    assert path.stat().st_mode & 0o777 == 0o600
    assert token not in path.read_text()
    with pytest.raises(RequestError, match="already"):
        tokens.add(path, "alice")
    tokens.remove(path, "alice")
    with pytest.raises(Rejected, match="not known"):
        access.authenticate({"authorization": f"Bearer {token}"}, "127.0.0.1")
    with pytest.raises(RequestError, match="no token"):
        tokens.remove(path, "alice")


@pytest.mark.parametrize("wrong", [{"scopes": ("all",)}, {"limits": {"memory": "much"}}, {"concurrency": -1}])
def test_tokens_that_cannot_be(tmp_path, wrong):
    with pytest.raises(RequestError):
        tokens.add(tmp_path / "t", "bob", **wrong)
    with pytest.raises(RequestError, match="name"):
        tokens.add(tmp_path / "t", "a b\n")


def test_a_file_of_tokens_that_others_could_read_is_none(tmp_path):
    path = tmp_path / "tokens.json"
    tokens.add(path, "alice")
    path.chmod(0o644)
    with pytest.raises(RequestError, match="only its owner"):
        Access(Config(tokens_file=path))
    path.chmod(0o600)
    path.write_text('{"tokens": [{"name": "x"}]}')
    with pytest.raises(RequestError, match="tokens"):
        Access(Config(tokens_file=path))
    path.unlink()
    os.symlink("/etc/passwd", path)
    with pytest.raises(RequestError):
        Access(Config(tokens_file=path))


def test_a_peer_that_guesses_waits_longer_each_time_and_no_other_does(tmp_path):
    now = [0.0]
    path = tmp_path / "tokens.json"
    token = tokens.add(path, "alice")
    access = Access(Config(tokens_file=path), clock=lambda: now[0])

    def status(value: str, peer: str) -> int:
        try:
            access.authenticate({"authorization": f"Bearer {value}"}, peer)
        except Rejected as error:
            return error.status
        return 200

    assert [status(f"guess{number}", "2001:db8::1") for number in range(11)] == [401] * 11
    assert status(token, "2001:db8::2") == 429  # the same /64
    assert status(token, "2001:db8:0:1::1") == 200
    now[0] = 2.5
    assert status("guess", "2001:db8::1") == 401
    now[0] = 5.0
    assert status("guess", "2001:db8::1") == 429
    now[0] = 10_000.0
    assert status(token, "2001:db8::1") == 200


def test_where_a_token_can_be():
    assert token_of({"authorization": "Bearer abc"}) == token_of({"x-auth-token": "abc"}) == "abc"
    assert token_of({"sec-websocket-protocol": "sandbox.v1, bearer.abc"}) == "abc"
    assert token_of({"authorization": "Basic abc"}) == token_of({}) == ""


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.1", "example.com", "::"])
def test_without_tokens_only_on_loopback(host):
    with pytest.raises(RequestError, match="loopback"):
        config.load(None, {"no_auth": True, "host": host})


def test_settings_are_named_when_they_are_wrong(tmp_path):
    file = tmp_path / "service.toml"
    file.write_text('body_bytes = "8MiB"\nmax_queue = 5\n[limits]\nmemory = "1GiB"\n')
    read = config.load(str(file), {"port": 1})
    assert (read.body_bytes, read.max_queue, read.port) == (8 << 20, 5, 1)
    for text, said in (
        ("max_qeue = 5", "max_qeue: there is no such setting"),
        ('limits = {memory = "much"}', "limits"),
        ("compile_limits = {pids = 5}", "compile_limits"),
        ('profiles = ["nope"]', "profiles"),
        ("profiles = []", "profiles"),
        ("x =", "is not TOML"),
        ('bodies_bytes = "1MiB"', "bodies_bytes"),
    ):
        file.write_text(text)
        with pytest.raises(RequestError, match=said):
            config.load(str(file))
    with pytest.raises(RequestError, match="cannot be read"):
        config.load(str(tmp_path / "none"))


def test_a_tenant_with_admin_may_everything():
    Tenant(name="a", scopes=frozenset({"admin"})).need("files")

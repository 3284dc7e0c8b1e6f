"""The store of what was built: whole or not at all, verified, bounded, and safe for many processes."""

from __future__ import annotations

import gc
import multiprocessing
import os
import shutil

import pytest

from sandbox.grader.store import Store, key_of
from sandbox.model.errors import RequestError, ResourceError

FILES = {"program": (b"\x7fELF", 0o755), "sub/data": (b"1", 0o600)}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def test_what_is_put_is_got(store):
    assert store.get("k") is None

    entry = store.put("k", FILES)
    again = store.get("k")

    assert again.files == entry.files
    assert (again.read("program"), again.read("sub/data"), again.size) == (b"\x7fELF", b"1", 5)
    assert (entry.files / "program").stat().st_mode & 0o777 == 0o555
    assert (entry.files / "sub/data").stat().st_mode & 0o777 == 0o444
    assert store.root.stat().st_mode & 0o777 == 0o700


def test_modes_do_not_depend_on_the_umask(store):
    before = os.umask(0o077)
    try:
        entry = store.put("k", FILES)
    finally:
        os.umask(before)

    assert (entry.files / "sub").stat().st_mode & 0o777 == 0o755
    assert entry.files.parent.stat().st_mode & 0o777 == 0o755


def test_an_empty_entry(store):
    assert list(store.put("k", {}).files.iterdir()) == []
    assert store.get("k").size == 0


def test_what_is_there_stays(store):
    store.put("k", FILES)

    assert store.put("k", {"program": (b"other", 0o755)}).read("program") == b"\x7fELF"


@pytest.mark.parametrize("spoil", ["change", "mode", "add", "remove", "link", "manifest", "pipe"])
def test_an_entry_that_was_changed_is_thrown_away(store, spoil):
    entry = store.put("k", FILES)
    program = entry.files / "program"
    if spoil == "change":
        program.chmod(0o755)
        program.write_bytes(b"\x7fELG")
        program.chmod(0o555)
    elif spoil == "mode":
        program.chmod(0o444)
    elif spoil == "add":
        (entry.files / "sub" / "more").write_bytes(b"")
    elif spoil == "manifest":
        (entry.files.parent / "manifest.json").write_text('{"program": 3}')
    else:
        program.unlink()
        if spoil == "link":
            program.symlink_to("/etc/passwd")
        if spoil == "pipe":
            os.mkfifo(program, 0o555)
    del entry
    gc.collect()

    assert store.get("k") is None
    assert not (store.root / "k").exists()
    assert store.put("k", FILES).read("program") == b"\x7fELF"


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", ""])
def test_names_that_point_elsewhere_are_refused(store, tmp_path, name):
    with pytest.raises(RequestError):
        store.put("k", {name: (b"1", 0o644)})

    assert [path.name for path in tmp_path.iterdir()] == ["store"]
    assert list(store.root.iterdir()) == []


def test_a_store_that_others_can_get_into_is_not_used(store):
    store.put("k", FILES)
    store.root.chmod(0o755)

    for use in (lambda: store.get("k"), lambda: store.put("l", FILES)):
        with pytest.raises(ResourceError, match="open to, somebody else; remove it, or chmod 700"):
            use()


def test_a_store_that_is_a_link_is_not_used(tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "store").symlink_to("elsewhere")

    with pytest.raises(ResourceError, match="cannot be kept"):
        Store(tmp_path / "store").put("k", FILES)


def age(store, key, seconds):
    os.utime(store.root / key, (seconds, seconds))


def test_the_least_recently_used_goes_first(tmp_path):
    store = Store(tmp_path / "store", max_entries=3)
    for number, key in enumerate("abc"):
        store.put(key, FILES)
        age(store, key, 1000 + number)
    assert store.get("a") is not None  # that is a use

    store.put("d", FILES)

    assert sorted(os.listdir(store.root)) == ["a", "c", "d"]


def test_bytes_are_bounded_too(tmp_path):
    store = Store(tmp_path / "store", max_bytes=25_000)
    for number, key in enumerate("abc"):
        store.put(key, {"x": (bytes(10_000), 0o644)})
        age(store, key, 1000 + number)

    store.put("d", {"x": (b"", 0o644)})

    assert sorted(os.listdir(store.root)) == ["b", "c", "d"] or sorted(os.listdir(store.root)) == ["c", "d"]
    assert sum(path.stat().st_size for path in store.root.rglob("*") if path.is_file()) <= 25_000


def test_what_is_held_stays(tmp_path):
    store = Store(tmp_path / "store", max_entries=1)
    held = store.put("a", FILES)

    store.put("b", FILES)
    assert held.read("program") == b"\x7fELF"
    del held
    gc.collect()
    store.put("c", FILES)

    assert not (store.root / "a").exists()


def test_drafts_of_processes_that_died_are_removed(store):
    store.put("a", FILES)
    for name, seconds in ((".draft-old", 1000), (".trash-old", 1000)):
        (store.root / name / "files").mkdir(parents=True)
        age(store, name, seconds)
    (store.root / ".draft-new").mkdir()

    store.put("b", FILES)

    assert sorted(os.listdir(store.root)) == [".draft-new", "a", "b"]


def _work(root, number):
    store = Store(root, max_entries=3)
    for turn in range(30):
        key = f"k{(turn * 7 + number) % 6}"
        data = key.encode() * 100
        entry = store.get(key) or store.put(key, {"program": (data, 0o755)})
        if entry.read("program") != data:
            os._exit(1)
    os._exit(0)


def test_many_processes_at_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_work, args=(tmp_path / "store", number)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)

    assert [worker.exitcode for worker in workers] == [0] * 4
    left = os.listdir(tmp_path / "store")
    assert len(left) <= 6
    assert not [name for name in left if name.startswith(".")]


def test_a_full_disk_is_the_hosts_failure(store, monkeypatch):
    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    store.put("a", FILES)
    monkeypatch.setattr(os, "rename", full)

    with pytest.raises(ResourceError, match="no space is left"):
        store.put("b", FILES)
    monkeypatch.undo()
    assert os.listdir(store.root) == ["a"]


def test_a_store_that_was_removed_is_made_again(store):
    store.put("a", FILES)
    shutil.rmtree(store.root)

    assert store.get("a") is None
    assert store.put("a", FILES).size == 5


def test_unlike_parts_have_unlike_keys():
    parts = [("a", "b"), ("ab",), ("a", b"b"), (["a"], "b"), (["a", "b"],), ({"a": "b"},), ({"a": b"b"},), ("a", "b", "")]

    assert len({key_of(*part) for part in parts}) == len(parts)
    assert key_of({"a": "1", "b": "2"}) == key_of({"b": "2", "a": "1"})
    with pytest.raises(TypeError):
        key_of(1.0)


def test_removal_follows_no_link(store, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_bytes(b"")
    entry = store.put("k", FILES)
    (entry.files / "link").symlink_to(tmp_path / "outside")
    (entry.files / "sub" / "up").symlink_to("../../..")
    del entry
    gc.collect()

    assert store.get("k") is None
    assert os.listdir(store.root) == []
    assert (tmp_path / "outside" / "precious").exists()

"""One launcher for many programs: each run meets its own and no other, and what is prepared ahead is used."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading

import pytest

from sandbox.grader import boxes, building
from sandbox.grader.building import Built
from sandbox.grader.grade import grade
from sandbox.grader.model import Limits, Source
from sandbox.grader.places import Place
from tests.support.clock import SLOWNESS, wait_until
from tests.support.problems import make, python
from tests.support.require import requires

pytestmark = requires("cgroup")
LIMITS = Limits(time_s=10 * SLOWNESS, memory_bytes=128 << 20)
LOOK = "import os\nprint(sorted(os.listdir('/program')), end='')\n"
SLOW = f"print('begun ', end='', flush=True)\ninput()\n{LOOK}"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    boxes.close()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield tmp_path / "cache" / "sandbox"
    boxes.close()


def program(name: str, text: str = LOOK) -> Built:
    built = building.build(Source({name: text.encode()}, name), LIMITS)
    assert isinstance(built, Built), built
    return built


def seen_beside(first: Built, second: Built) -> tuple[bytes, tuple[int, bytes], int]:
    """What the first one, which has begun, sees after the second one has run; what that one saw; and where the first one ran."""
    reader, writer = os.pipe()
    begun = threading.Event()
    with first.sandbox() as box, building.start(first, box, stdin=reader, on_stdout=lambda _: begun.set()) as run:
        waiting = threading.Thread(target=run.wait)
        waiting.start()
        assert begun.wait(30 * SLOWNESS)
        other = seen(second)
        os.write(writer, b"\n")
        os.close(writer)
        waiting.join()
        result = run.wait()
    os.close(reader)
    return result.stdout, other, id(box)


def seen(built: Built) -> tuple[int, bytes]:
    with built.sandbox() as box:
        result = building.start(built, box).wait()
    assert result.ok, result.stderr
    return id(box), result.stdout


@pytest.mark.claim("SEC-GR-02")
def test_programs_take_turns_in_one_launcher_and_see_themselves_only():
    first, second = program("one.py"), program("two.py")

    found = [seen(built) for built in (first, second, first)]

    assert [names for _, names in found] == [b"['one.py']", b"['two.py']", b"['one.py']"]
    assert len({box for box, _ in found}) == 1
    with first.sandbox() as box:
        assert box.stats()["launchers"] == 1


@pytest.mark.claim("SEC-GR-02", knocked_out=True)
def test_a_place_that_is_not_emptied_shows_the_program_before(monkeypatch):
    monkeypatch.setattr(Place, "_clear", lambda self: None)
    seen(program("one.py"))

    assert seen(program("two.py"))[1] == b"['one.py', 'two.py']"


@pytest.mark.claim("SEC-GR-02")
def test_no_program_is_exchanged_while_another_runs():
    mine, (other_box, others), box = seen_beside(program("one.py", SLOW), program("two.py"))

    assert (mine, others) == (b"begun ['one.py']", b"['two.py']")
    assert other_box != box


@pytest.mark.claim("SEC-GR-02", knocked_out=True)
def test_a_launcher_that_is_taken_from_who_uses_it_shows_him_another_program(monkeypatch):
    monkeypatch.setattr(boxes, "_fitting", lambda key, *_: next((one for one in boxes._all.values() if one.key == key), None))

    assert seen_beside(program("one.py", SLOW), program("two.py"))[0] == b"begun ['two.py']"


def test_a_program_cannot_change_what_lies_in_its_place(cache):
    text = "import os\nfor what in (lambda: os.unlink('/program/one.py'), lambda: open('/program/x', 'w'), "
    text += "lambda: os.chmod('/program/one.py', 0o777), lambda: os.utime('/program/one.py', (1, 1))):\n"
    text += "    try:\n        what()\n    except OSError as error:\n        print(error.errno, end=' ')\n"
    built = program("one.py", text)
    before = (built.entry.files / "one.py").stat()

    assert seen(built)[1] == b"30 30 30 30 "
    after = (built.entry.files / "one.py").stat()
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)


@pytest.mark.parametrize("name", ["one.py", "two.py"])
@pytest.mark.parametrize("removed", ["", "places", "artefacts"])
def test_a_cache_that_was_removed_is_made_anew(cache, name, removed):
    assert seen(program("one.py"))[1] == b"['one.py']"
    shutil.rmtree(cache / removed)

    assert seen(program(name))[1] == f"['{name}']".encode()
    assert len([shared for shared in boxes._all.values() if shared.place is not None]) == 1
    assert len(os.listdir(cache / "places")) == 1


def test_a_file_that_somebody_removed_from_a_place_is_put_there_again(cache):
    built = program("one.py")
    seen(built)
    (found,) = (cache / "places").glob("*/program/one.py")
    found.unlink()

    assert seen(built)[1] == b"['one.py']"


def test_a_launcher_that_is_reserved_is_kept_and_used_first(cache):
    built = program("one.py")
    with building.Setting.prepared(built, (), 1, writable=True):
        boxes.close()
        (reserved,) = boxes._all.values()
        assert [seen(built)[0], seen(built)[0]] == [id(reserved.sandbox)] * 2
    boxes.close()
    assert not boxes._all


def test_nothing_is_left_of_places_when_launchers_end(cache):
    seen(program("one.py"))
    boxes.close()

    assert os.listdir(cache / "places") == []


@pytest.mark.requires("language c")
@pytest.mark.parametrize("writable", [True, False])
def test_what_was_set_up_while_the_compiler_ran_serves_the_first_cases(tmp_path, monkeypatch, writable):
    prepared = []
    enter = building.Setting.prepared

    @contextlib.contextmanager
    def watched(self, cpus, parked, *, writable):
        with enter(self, cpus, parked, writable=writable):
            prepared[:] = [shared.sandbox for shared in boxes._all.values() if shared.place is not None]
            wait_until(lambda: all(box.stats()["parked"] for box in prepared), 10 * SLOWNESS, "sandboxes are parked")
            yield

    monkeypatch.setattr(building.Setting, "prepared", watched)
    problem = make(tmp_path, {str(number): ("1\n", "1\n") for number in range(4)}, allow_file_writing=writable)
    source = Source({"a.c": b'#include <stdio.h>\nint main(void) { puts("1"); return 0; }'}, "a.c")

    report = grade(problem, source, mode="all")

    assert report.verdict == "AC", report.reason
    assert sum(box.stats()["hits"] for box in prepared) >= min(4, len(prepared))
    assert sum(box.stats()["launchers"] for box in prepared) == len(prepared)


def test_what_needs_no_compiler_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(building.Setting, "prepared", lambda *_, **__: pytest.fail("prepared"))

    assert grade(make(tmp_path, {"1": ("1\n", "1\n")}), python("print(1)")).verdict == "AC"

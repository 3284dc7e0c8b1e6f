"""Lines of JSON: one for each record, the id of the request in it, and nothing of a client that acts on whoever reads it."""

from __future__ import annotations

import asyncio
import io
import json
import logging

import pytest

from sandbox.service import logs


@pytest.fixture
def lines():
    """A function that gives the lines since the last call; logging is put back afterwards."""
    names = ("sandbox.service", "uvicorn", "asyncio", "uvicorn.error", "uvicorn.asgi", "uvicorn.access")
    loggers = [logging.getLogger(name) for name in names]
    before = [(one, one.handlers[:], one.propagate, one.level, one.disabled) for one in loggers]
    stream = io.StringIO()
    logs.setup("info", stream)

    def take():
        text = stream.getvalue()
        stream.seek(0)
        stream.truncate()
        assert text == "" or text.endswith("\n")
        assert all(" " <= sign <= "~" or sign == "\n" for sign in text), "a line is printable ASCII"
        return [json.loads(line) for line in text.splitlines()]

    yield take
    for logger, handlers, propagate, level, disabled in before:
        logger.handlers[:], logger.propagate, logger.disabled = handlers, propagate, disabled
        logger.setLevel(level)


def test_every_line_has_the_id_of_its_request(lines):
    async def serve(identifier):
        with logs.request(identifier):
            logs.event("began")
            await asyncio.sleep(0)
            await asyncio.to_thread(logs.event, "in a thread")
            await asyncio.create_task(_later())
            assert logs.current() == identifier

    async def _later():
        logging.getLogger("uvicorn.error").warning("another logger")

    async def both():
        await asyncio.gather(serve("one"), serve("two"))

    asyncio.run(both())
    found = lines()
    assert sorted(line["request_id"] for line in found) == ["one"] * 3 + ["two"] * 3
    assert logs.current() == ""


@pytest.mark.parametrize(
    "word", ["a\nb", "\x1b[2J", "\x9b31m", "\u202eevil", "\x7f\x00", "\udcff", '"}\n{"level":"info"', "\u2028"]
)
def test_words_of_clients_are_escaped_and_come_back_whole(lines, word):
    logs.event("x", path=word)
    logger = logging.getLogger("sandbox.service")
    # Past the logger: what pytest keeps of it, half a character too, could not be sent from one worker to another.
    logger.handlers[0].handle(logger.makeRecord(logger.name, logging.INFO, __file__, 1, "said %s", (word,), None))
    first, second = lines()
    assert first["path"] == word
    assert second["message"] == f"said {word}"


def test_a_field_cannot_replace_what_the_line_says_of_itself(lines):
    with logs.request("right"):
        logging.getLogger("sandbox.service").info("m", extra={"fields": {"request_id": "wrong", "level": "debug", "time": 0}})
    (line,) = lines()
    assert (line["request_id"], line["level"]) == ("right", "info")


def test_huge_values_are_cut_off_and_lose_no_line(lines):
    logs.event("x", a="y" * 100_000, b=10**6_000, c=list(range(1_000)), d=object(), e=None, f=1.5)
    (line,) = lines()
    assert len(json.dumps(line)) < 10_000
    assert line["a"].endswith("(100000 characters)")
    assert len(line["c"]) == 100
    assert (line["e"], line["f"]) == (None, 1.5)


def test_exceptions_are_one_line(lines):
    try:
        raise ValueError("bad\nthing\x1b")
    except ValueError:
        logging.getLogger("sandbox.service").exception("it failed")
    (line,) = lines()
    assert "ValueError: bad\nthing\x1b" in line["exception"]
    assert line["level"] == "error"


def test_the_level_is_an_option(lines):
    logs.event("quiet", level="debug")
    assert lines() == []
    with pytest.raises(ValueError, match="debug, info, warning"):
        logs.setup("loud")


def test_uvicorn_says_each_thing_once_and_no_access_line(lines):
    logging.getLogger("uvicorn.error").info("started")
    logging.getLogger("uvicorn.access").info("GET /secret")
    assert [line["message"] for line in lines()] == ["started"]


def test_a_message_of_the_wrong_form_fails_nobody(lines):
    (handler,) = (one for one in logging.getLogger("sandbox.service").handlers if isinstance(one, logs._Handler))
    handler.handle(logging.LogRecord("sandbox.service", logging.INFO, "", 1, "%d of %d", ("x",), None))
    assert [line["message"] for line in lines()] == ["%d of %d"]


def test_a_closed_stream_fails_nobody(lines):
    stream = io.StringIO()
    logs.setup("info", stream)
    stream.close()
    logs.event("nobody hears it")


@pytest.mark.parametrize("offered", ["req-1", "A.b_c-9", "x" * 64])
def test_a_plain_id_of_the_client_is_taken(offered):
    assert logs.request_id(offered) == offered


@pytest.mark.parametrize("offered", [None, "", "x" * 65, "a b", "a\n", "-a", "é", "a\r\nSet-Cookie: x"])
def test_another_is_replaced(offered):
    made = logs.request_id(offered)
    assert made != offered
    assert len(made) == 16
    assert made != logs.request_id(offered)

"""Where the client sends what, whom it is, how long it waits, and what it needs to be installed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sandbox import client
from sandbox.client import calls, retries
from sandbox.model import errors as local

URL = "http://sandbox.test"


@pytest.mark.parametrize(
    "url",
    ["", "sandbox", "ftp://x", "http://", "http://x:0", "http://x:99999", "http://u:p@x", "http://x/?a", "http://x/#a", None],
)
def test_an_address_that_is_none(url):
    with pytest.raises(local.RequestError, match="address"):
        client.Sandbox(url)


def test_addresses_below_a_path():
    assert calls.socket_address(calls.address("https://x/sandbox/")) == "wss://x/sandbox/v1/runs/ws"


@pytest.mark.parametrize("token", ["", "a b", "a\nb", "é", "a\r\nHost: x"])
def test_a_token_that_is_none_is_not_quoted(token):
    with pytest.raises(local.RequestError) as caught:
        client.AsyncSandbox(URL, token=token)
    assert not token or token not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "seconds"), [("0", 0), (" 7 ", 7), ("-1", None), ("", None), (None, None), ("²", None), ("9" * 99, 999999999)]
)
def test_what_retry_after_means(value, seconds):
    assert retries.retry_after(value) == seconds


def test_a_date_of_the_past_is_now():
    assert retries.retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert retries.retry_after("Wed, 21 Oct 2015 07:28:00 GMT", now=1445412470) == 10


def test_it_needs_httpx_alone_and_says_so():
    code = (
        "import sys\n"
        "for name in ('websockets', 'fastapi', 'uvicorn', 'prometheus_client'): sys.modules[name] = None\n"
        "import sandbox.client\n"
        "others = ('sandbox.runtime', 'sandbox.launcher', 'sandbox.kernel', 'sandbox.service')\n"
        "assert not [name for name in sys.modules if name.startswith(others)]\n"
        "try: sandbox.client.Sandbox('http://127.0.0.1:1').start(['a'])\n"
        "except sandbox.RequestError as error: assert 'sandbox[client]' in str(error)\n"
        "else: raise AssertionError\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    code = (
        "import sys; sys.modules['httpx'] = None\n"
        "try: import sandbox.client\n"
        "except ModuleNotFoundError as error: assert 'sandbox[client]' in str(error)\n"
        "else: raise AssertionError\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

"""Callbacks reach the hosts that an operator allows, at public addresses, and nothing else."""

from __future__ import annotations

import asyncio
import ipaddress
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from sandbox.service import callbacks

ALLOWED = ("judge.example.org", "*.example.net", "other.example:8443", "192.0.2.7", "10.1.0.0/16", "[::1]:81")


@pytest.mark.parametrize(
    "url",
    [
        "http://judge.example.org/x?y",
        "https://JUDGE.example.org./x",
        "https://a.b.example.net/",
        "https://other.example:8443/",
        "http://192.0.2.7/",
        "http://10.1.2.3/",
        "http://[::1]:81/",
    ],
)
def test_allowed_hosts(url):
    assert callbacks.target(url, ALLOWED).host


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://localhost/",
        "http://127.0.0.1/",
        "http://example.net/",
        "http://evilexample.net/",
        "http://judge.example.org.evil.test/",
        "http://judge.example.org:22/",
        "http://judge.example.org@evil.test/",
        "http://evil.test#@judge.example.org/",
        "http://evil.test\\@judge.example.org/",
        "https://other.example/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://[::ffff:127.0.0.1]/",
        "http://10.2.0.1/",
        "http://[::1]/",
        "ftp://judge.example.org/",
        "file:///etc/passwd",
        "gopher://judge.example.org/",
        "judge.example.org",
        "http://",
        "",
        "http://judge.example.org/\r\nX: y",
        "http://user:pw@judge.example.org/",
        "http://judge.example.org/" + "x" * 3000,
        "http://judge.example.org:99999/",
        "http://[::1/",
    ],
)
def test_everything_else_is_refused(url):
    with pytest.raises(ValueError):
        callbacks.target(url, ALLOWED)


def test_without_a_list_there_are_no_callbacks():
    with pytest.raises(ValueError, match="setting callback is not allowed"):
        callbacks.target("http://judge.example.org/", ())


@pytest.mark.parametrize(
    "address",
    "127.0.0.1 10.0.0.1 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 255.255.255.255 ::1 :: fe80::1"
    " fc00::1 ff02::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::7f00:1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 2002:7f00:1:: 2002:a00:1::"
    " 2001:0:7f00:1:: fec0::1 192.0.2.1 198.18.0.1 2001:db8::1".split(),
)
def test_addresses_that_are_not_public(address):
    assert not callbacks.is_public(ipaddress.ip_address(address))
    with pytest.raises(ValueError, match="not a public one"):
        callbacks.check(["93.184.215.14", address], ("judge.example.org",))


@pytest.mark.parametrize("address", ["93.184.215.14", "8.8.8.8", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::ffff:8.8.8.8"])
def test_public_addresses(address):
    assert callbacks.check([address], ("judge.example.org",)) == address


def test_what_is_listed_may_be_private():
    assert callbacks.check(["10.1.2.3"], ALLOWED) == "10.1.2.3"
    with pytest.raises(ValueError):
        callbacks.check(["10.1.2.3", "10.2.0.1"], ALLOWED)
    with pytest.raises(ValueError, match="no address"):
        callbacks.check([], ALLOWED)


class _Handler(BaseHTTPRequestHandler):
    def do_PUT(self):
        size = int(self.headers["Content-Length"])
        self.server.seen.append((self.path, self.headers["Host"], self.headers["Content-Type"], self.rfile.read(size)))
        self.send_response(self.server.answers)
        self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/redirected")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with HTTPServer(("127.0.0.1", 0), _Handler) as made:
        made.seen, made.answers = [], 200
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def put(server, url, allowed, addresses=("127.0.0.1",), **options):
    asked = []

    async def resolve(host, port):
        asked.append((host, port))
        return list(addresses)

    delivered = asyncio.run(callbacks.put(url, b"{}", allowed, resolve=resolve, **options))
    return delivered, asked


def test_a_callback_is_put_to_the_address_that_was_looked_at(server):
    name = f"hook.example:{server.server_port}"
    delivered, asked = put(server, f"http://{name}/done?x=1", (name, "127.0.0.1"))
    assert delivered
    assert asked == [("hook.example", server.server_port)]
    assert server.seen == [("/done?x=1", name, "application/json", b"{}")]


@pytest.mark.claim("SEC-SV-06")
def test_a_name_that_leads_inside_is_not_called(server):
    name = f"hook.example:{server.server_port}"
    delivered, _ = put(server, f"http://{name}/", (name,))
    assert not delivered
    assert server.seen == []


@pytest.mark.claim("SEC-SV-06")
def test_redirects_are_not_followed(server):
    server.answers = 307
    name = f"127.0.0.1:{server.server_port}"
    delivered, _ = put(server, f"http://{name}/first", (name,))
    assert delivered
    assert [seen[0] for seen in server.seen] == ["/first"]


def test_a_host_that_cannot_be_reached_is_tried_again(server):
    port = server.server_port
    server.server_close()
    delivered, asked = put(server, f"http://127.0.0.1:{port}/", (f"127.0.0.1:{port}",), tries=3)
    assert not delivered
    assert len(asked) == 3

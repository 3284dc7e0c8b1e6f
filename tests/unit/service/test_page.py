"""The page as it is served, without a browser: who may have it, what its headers forbid, and that it is what its sources make."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import re
import subprocess
from pathlib import Path
from urllib.parse import unquote

import httpx
import pytest

from sandbox.service import page, tokens
from sandbox.service.app import make_app
from sandbox.service.config import Config
from tests.support.require import requires

ROOT = Path(__file__).resolve().parents[3]
WEB = ROOT / "web"
STATIC = ROOT / "sandbox" / "service" / "page" / "static"
NAMES = sorted(path.name for path in STATIC.iterdir())


class Core:
    """What carries out runs, in place of the real one."""

    async def start(self):
        pass

    async def close(self):
        pass

    def stats(self):
        return {}

    def languages(self):
        return []


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "tokens.json"
    tokens.add(path, "alice")
    return make_app(Config(tokens_file=path), Core())


@pytest.fixture(scope="module")
def ask(app):
    """Asks for several things, and gives their answers; a string is a path to GET, a tuple has method, path and headers."""

    def asked(*requests: str | tuple[str, str, dict[str, str]]) -> list[httpx.Response]:
        async def all_of_them():
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
                given = [("GET", item, {}) if isinstance(item, str) else item for item in requests]
                return [await http.request(method, path, headers=headers) for method, path, headers in given]

        return asyncio.run(all_of_them())

    return asked


@pytest.fixture(scope="module")
def every(ask):
    """The answer to each file of the page."""
    return dict(zip(NAMES, ask(*(f"/page/{name}" for name in NAMES)), strict=True))


def test_everybody_gets_the_page_and_nothing_else(ask, every):
    assert {answer.status_code for answer in (*ask("/", "/favicon.ico"), *every.values())} == {200}
    closed = ("/v1/languages", "/v1/profiles", "/metrics", "/pages", "/page", "/index.html", "/v1/page/index.html")
    assert {answer.status_code for answer in ask(*closed)} == {401}


def test_only_reading_is_open(ask):
    wanted = [(method, path, {}) for path in ("/", "/page/index.html") for method in ("POST", "PUT", "DELETE", "OPTIONS")]
    assert {answer.status_code for answer in ask(*wanted)} == {401}


@pytest.mark.parametrize(
    "path",
    [
        "/page/",
        "/page/x",
        "/page/../x",
        "/page/..%2f__init__.py",
        "/page/%2e%2e/__init__.py",
        "/page/%2fetc%2fpasswd",
        "/page//etc/passwd",
        "/page/static/index.html",
        "/page/index.html%00",
        "/page/" + "x" * 5000,
    ],
)
def test_only_names_of_the_table_lead_to_a_file(app, path):
    """The path as it is on the line: a client library would tidy it up before."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": unquote(path), "raw_path": path.encode(), "root_path": "", "query_string": b"",
        "headers": [(b"host", b"127.0.0.1")], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 404
    assert json.loads(b"".join(message.get("body", b"") for message in sent))["error"]["code"] == "not_found"


def test_headers_keep_everything_of_others_out(ask, every):
    for headers in (answer.headers for answer in (*ask("/"), *every.values())):
        rules = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == rules["frame-ancestors"] == "'none'"
        assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
        assert rules["require-trusted-types-for"] == "'script'"
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"


def test_types_are_those_that_browsers_insist_on(every):
    kinds = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml", ".txt": "text/plain"}
    for name, answer in every.items():
        assert answer.headers["content-type"].startswith(kinds[Path(name).suffix]), name


def test_what_a_browser_has_is_not_sent_again(ask, every):
    for path in ("/", f"/page/{NAMES[2]}"):
        (first,) = ask(path)
        etag = first.headers["etag"]
        again, other = ask(("GET", path, {"if-none-match": f'"other", W/{etag}'}), ("GET", path, {"if-none-match": '"other"'}))
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
        assert other.status_code == 200
    assert ask("/")[0].headers["cache-control"] == "no-cache"
    for name, answer in every.items():
        lasting = "immutable" in answer.headers["cache-control"]
        assert lasting == bool(re.search(r"-[A-Za-z0-9]{8}\.\w+$", name)), name


def test_it_is_packed_for_those_who_take_that(ask):
    accepted = ("identity", "br, gzip;q=0.8", "gzip;q=0")
    plain, packed, refused = ask(*(("GET", "/", {"accept-encoding": word}) for word in accepted))
    assert plain.content == packed.content == (STATIC / "index.html").read_bytes()
    assert packed.headers["content-encoding"] == "gzip"
    assert not [answer for answer in (plain, refused) if "content-encoding" in answer.headers]
    assert plain.headers["etag"] != packed.headers["etag"]
    assert packed.headers["vary"] == "Accept-Encoding"


def test_a_head_is_answered_as_the_file_would_be(ask):
    head, whole = ask(("HEAD", "/", {}), "/")
    assert head.status_code == 200
    for name in ("content-length", "etag", "content-type", "cache-control"):
        assert head.headers[name] == whole.headers[name]


def test_the_page_is_small_enough_for_a_slow_line():
    first = {
        name for name in re.findall(r"/page/([\w.-]+)", (STATIC / "index.html").read_text()) if name.endswith((".js", ".css"))
    }
    app = next(name for name in first if name.startswith("app-"))
    first |= set(re.findall(r'from"\./([\w.-]+)"', (STATIC / app).read_text()))
    assert sum(len(page.assets()[name].packed or page.assets()[name].data) for name in first) < 250_000


def test_what_is_packed_is_the_same():
    assert all(gzip.decompress(asset.packed) == asset.data for asset in page.assets().values() if asset.packed)
    assert page.assets() is page.assets()  # read once


def test_nothing_of_it_comes_from_elsewhere():
    """No address of another server in what is loaded, but the names of XML and those in example programs."""
    for name in NAMES:
        if name.endswith((".js", ".css", ".html", ".svg")):
            found = set(re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}[^\s\"'`)]*", (STATIC / name).read_text()))
            assert all(re.match(r"http://(www\.w3\.org/|example\.org/)", item) for item in found), (name, found)
    index = (STATIC / "index.html").read_text()
    assert all(item.startswith("/page/") for item in re.findall(r'(?:src|href)="([^"#]+)"', index) if item != "/openapi.json")
    assert not re.search(r"<script>|<style|\son\w+=|style=", index)


def test_every_file_that_it_names_is_there():
    for name in NAMES:
        if name.endswith((".js", ".html")):
            text = (STATIC / name).read_text()
            named = re.findall(r'(?:from|import)\(?"\./([\w.-]+)"', text) + re.findall(r'"/page/([\w.-]+)"', text)
            assert set(named) <= set(NAMES), name


def test_the_page_never_makes_html_of_text():
    words = ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "ContextualFragment")
    for path in (WEB / "src").rglob("*.js"):
        assert not [word for word in words if word in path.read_text()], path.name


def test_the_page_is_made_of_the_sources_that_are_here():
    """`make check-page` builds it again and compares every byte; this sees without npm that nobody forgot to build it."""
    digest = hashlib.sha256()
    sources = [path for path in (WEB / "src").rglob("*") if path.is_file()]
    for path in sorted([*sources, *(WEB / name for name in ("build.mjs", "package.json", "package-lock.json"))]):
        data = path.read_bytes()
        digest.update(f"{path.relative_to(WEB)}\0{len(data)}\0".encode() + data)
    assert (STATIC / "SOURCES.txt").read_text().strip() == digest.hexdigest(), "the page is not up to date: make page"


def test_files_of_the_page_stay_small():
    lines = {path.name: path.read_text().count("\n") for path in (WEB / "src").rglob("*.js")}
    assert max(lines.values()) <= 400, lines


def test_packages_are_pinned_with_digests_and_their_licences_are_told():
    package = json.loads((WEB / "package.json").read_text())
    lock = json.loads((WEB / "package-lock.json").read_text())["packages"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in package["devDependencies"].values())
    assert all("integrity" in item for name, item in lock.items() if name)
    licences = (STATIC / "LICENSES.txt").read_text()
    for name, version in package["devDependencies"].items():
        if name != "esbuild":
            assert f"\n{name} {version} (MIT)\n" in licences, name


def test_every_package_of_npm_has_its_reason():
    package = json.loads((WEB / "package.json").read_text())
    text = (ROOT / "docs" / "dependencies.md").read_text()
    reasons = dict(re.findall(r"^\| `([^`]+)` \| [^|]+ \| ([^|]{15,}) \|$", text, re.MULTILINE))
    assert set(reasons) == set(package["devDependencies"])


@requires("node")
def test_the_parts_of_the_page_work_by_themselves():
    done = subprocess.run(
        ["node", "--test", *sorted(map(str, (WEB / "test").glob("*.test.js")))],
        cwd=WEB,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]

"""The page in a real browser: programs, links and files that somebody made, and the token that they must not get."""

from __future__ import annotations

import json
import re

import pytest

from sandbox.service import tokens
from tests.support.require import missing
from tests.support.served import served

pytestmark = [pytest.mark.requires("browser")]
if missing("browser") is None:
    from playwright.sync_api import expect

    from tests.support.browsing import link, packed, visited


EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)><b>bold</b>"


@pytest.mark.claim("SEC-SV-10")
def test_what_a_program_prints_is_text(visit):
    evil = EVIL
    escapes = "\\033[2J\\033]0;x\\a\\033[31mred\\033[0m\\u202e"
    code = f"import sys\nfor out in (sys.stdout, sys.stderr):\n    print({evil!r}, '{escapes}', file=out)"
    visit.program(code).run().ended("Exited with 0")
    text = visit.output.inner_text()
    assert text.count(evil) == 2
    assert text.count("\\x1b[2J\\x1b]0;x\\x07red\\u202e") == 2
    assert visit.output.locator("script, img, b").count() == 0
    assert visit.output.locator(".f-red").count() == 2
    expect(visit.output.locator(".stderr .tag")).to_contain_text("standard error")
    assert visit.tab.title() == "sandbox"


# A page that takes what a program prints for HTML.
_AS_HTML = """
const append = Element.prototype.append;
const html = (text) => document.createRange().createContextualFragment(text);
Element.prototype.append = function (...parts) {
  append.apply(this, parts.map((part) => (typeof part === "string" && part.includes("<img") ? html(part) : part)));
};
"""


@pytest.mark.claim("SEC-SV-10", knocked_out=True)
@pytest.mark.parametrize("policy", [True, False], ids=["the policy holds", "nothing holds"])
def test_what_it_prints_runs_where_it_is_not_text_and_no_policy_holds(browser, page_server, policy):
    noise = ("dialog", "Trusted", "Content Security Policy", "404")
    with visited(browser, page_server.url, *noise, bypass_csp=not policy) as visit:
        visit.context.add_init_script(_AS_HTML)
        visit.program(f"print({EVIL!r})").run()
        wanted = "Trusted" if policy else "dialog"
        with visit.tab.expect_event("pageerror" if policy else "dialog", lambda event: wanted in str(event) or not policy):
            pass
        assert any(text.startswith("dialog") for text in visit.wrong) is not policy


def test_files_that_a_program_leaves(visit, tmp_path):
    visit.open()
    visit.tab.select_option("#example", label="Leaves a picture")
    visit.run().ended("Exited with 0")
    picture = visit.tab.get_by_role("img", name="The picture that the program made")
    expect(picture).to_be_visible()
    assert picture.evaluate("(image) => image.decode().then(() => [image.naturalWidth, image.naturalHeight])") == [360, 240]
    code = "open('<b>a.html', 'w').write('<script>alert(1)</script>')\nopen('b', 'wb').write(bytes(range(256)))"
    visit.program(code, collect="*.html b missing").run().ended("Exited with 0")
    files = visit.tab.locator(".files")
    files.get_by_text("Show").click()
    expect(files.locator("pre")).to_have_text("<script>alert(1)</script>")
    expect(files).to_contain_text("missing was not taken")
    assert files.locator("script, b").count() == 0
    with visit.tab.expect_download() as download:
        files.get_by_role("button", name="Save b", exact=True).click()
    download.value.save_as(tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == bytes(range(256))


FLOODS = {
    "of lines": "while True: print('x' * 10)",
    "without a line": "import sys\nwhile True: sys.stdout.write('x' * 100)",
    "of colours": "while True: print('\\033[31ma\\033[32mb', end='')",
    "of streams": "import os\nwhile True: os.write(1, b'a'), os.write(2, b'b')",
}


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_leaves_the_page_alive(visit, kind):
    visit.program(FLOODS[kind], limits={"wall": "4s", "output": "1MiB"}).run()
    visit.ended(re.compile("Output limit|Time limit|Too fast for this page"))  # the last one on a host that is busy all over
    assert len(visit.output.inner_text()) < 300_000
    assert visit.output.locator("*").count() < 15_000
    expect(visit.output).to_contain_text("before this are not shown")
    visit.tab.click("#theme")  # it still listens
    expect(visit.tab.locator("html")).to_have_attribute("data-theme", "light")


@pytest.mark.claim("SEC-SV-10")
def test_a_link_brings_the_program_and_runs_nothing(visit, page_server):
    visit.program("print('π', input())", stdin="in", args="-x 'a b'", mode="typed", profile="strict", limits={"memory": "64MiB"})
    before = page_server.log.read_text().count("/v1/runs/ws")
    expect(visit.tab.locator("#notice")).to_contain_text("came with the link")
    visit.tab.get_by_role("button", name="Share").click()
    field = visit.tab.get_by_label("Link", exact=True)
    expect(field).to_have_value(re.compile(r"/#s1\.\w"))
    made = field.input_value()
    visit.tab.get_by_role("dialog").get_by_role("button", name="Close").click()
    other = visit.context.new_page()
    visit.watch(other)
    other.goto(made)
    expect(other.locator("#run")).to_be_enabled()
    expect(other.locator("#notice")).to_contain_text("Look at it before you run it")
    expect(other.locator(".cm-content")).to_have_text("print('π', input())")
    fields = {"#stdin": "in", "#args": "-x 'a b'", "#mode": "typed", "#profile": "strict", "#limit-memory": "64MiB"}
    for field, value in fields.items():
        expect(other.locator(field)).to_have_value(value)
    assert page_server.log.read_text().count("/v1/runs/ws") == before
    assert "#" not in page_server.log.read_text()


@pytest.mark.parametrize(
    ("fragment", "said"),
    [
        ("#<img src=x onerror=alert(1)>", "was not made by this page"),
        ("#s1.AAAA", "cut off or damaged"),
        (lambda: packed(b" " * 40_000_000), "unpacks to more than"),
        (lambda: packed(b'{"language": "<b>"}'), "names are not names"),
    ],
)
def test_a_hostile_link_is_refused_with_a_reason(visit, fragment, said):
    visit.open(fragment if isinstance(fragment, str) else fragment())
    expect(visit.tab.locator("#notice")).to_contain_text(said)
    expect(visit.tab.locator(".cm-content")).to_contain_text("Hello from")


def test_a_link_that_asks_for_what_is_not_here(visit):
    visit.open(link(language="cobol", code="DISPLAY 'X'.", profile="root"))
    expect(visit.tab.locator("#notice")).to_contain_text("does not have the language cobol and the profile root")


def test_nothing_is_lost_when_the_page_is_loaded_again(visit):
    visit.program("print('from the link')")
    visit.tab.locator(".cm-content").click()
    visit.tab.keyboard.press("Control+End")
    visit.tab.keyboard.type("# mine")
    visit.tab.fill("#stdin", "kept")
    visit.tab.select_option("#language", "bash")
    visit.tab.select_option("#language", "python3")
    visit.tab.reload()
    expect(visit.tab.locator(".cm-content")).to_have_text("print('from the link')# mine")
    expect(visit.tab.locator("#stdin")).to_have_value("kept")


def test_a_token_is_asked_for_and_used(browser, tmp_path, run_options):
    settings = {"tokens_file": str(tmp_path / "tokens.json"), "no_auth": False, "languages": ["python3"]}
    with (
        served(tmp_path, **settings, **run_options) as server,
        visited(browser, server.url, "401", "Authentication failed") as visit,
    ):
        token = tokens.add(tmp_path / "tokens.json", "alice")
        visit.tab.goto(f"{server.url}/")
        field = visit.tab.get_by_role("textbox", name="Token")
        expect(field).to_be_focused()
        field.fill("guess")
        visit.tab.keyboard.press("Enter")
        expect(visit.tab.locator("#token-wrong")).to_contain_text("token is not known")
        visit.tab.keyboard.press("Escape")
        expect(visit.tab.locator("#token")).to_have_value("")  # the event of the dialog that closes comes later
        visit.tab.get_by_role("button", name="Token").click()
        field.fill(token)
        visit.tab.keyboard.press("Enter")
        visit.run().ended("Exited with 0")
        visit.tab.get_by_role("button", name="Token").click()
        field.fill("mistyped")
        visit.tab.keyboard.press("Enter")
        expect(visit.tab.locator("#token-wrong")).to_contain_text("token is not known")
        visit.tab.keyboard.press("Escape")
        visit.run().ended("Exited with 0")  # the good one is still there
        kept = visit.tab.evaluate(
            "() => [JSON.stringify(sessionStorage), JSON.stringify(localStorage), location.href, document.cookie]"
        )
        assert [token in text for text in kept] == [True, False, False, False]
        visit.tab.reload()
        visit.run().ended("Exited with 0")
        (tmp_path / "tokens.json").write_text(json.dumps({"tokens": []}))
        visit.run()
        expect(field).to_be_focused()
        assert token not in server.log.read_text()


def test_a_link_waits_for_the_token_and_then_says_what_is_not_here(browser, tmp_path, run_options):
    settings = {"tokens_file": str(tmp_path / "tokens.json"), "no_auth": False, "languages": ["python3"], "profiles": ["strict"]}
    with served(tmp_path, **settings, **run_options) as server, visited(browser, server.url, "401") as visit:
        token = tokens.add(tmp_path / "tokens.json", "alice")
        visit.tab.goto(f"{server.url}/{link(language='cobol', code='STOP RUN.', profile='wide')}")
        field = visit.tab.get_by_role("textbox", name="Token")
        field.fill(token)
        visit.tab.keyboard.press("Enter")
        expect(visit.tab.locator("#notice")).to_contain_text("does not have the language cobol and the profile wide")
        expect(visit.tab.locator(".cm-content")).to_have_text("STOP RUN.")
        visit.tab.select_option("#profile", "strict")
        visit.tab.get_by_role("button", name="Token").click()
        visit.tab.get_by_role("button", name="Forget").click()
        visit.tab.get_by_role("button", name="Token").click()
        field.fill(token)
        visit.tab.keyboard.press("Enter")
        expect(visit.tab.locator("#run")).to_be_enabled()
        expect(visit.tab.locator("#profile")).to_have_value("strict")

"""The page in a real browser. Every test ends with: no complaint of the browser, no request to another server."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys

import pytest

from tests.support.clock import seconds, wait_until
from tests.support.require import missing
from tests.support.served import served

pytestmark = [pytest.mark.requires("browser")]
if missing("browser") is None:
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import expect

    from tests.support.browsing import Visit, chromium, link, packed

LANGUAGES = ["python3", "cpp", "bash"]
PATIENCE = 15


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory, run_options):
    with served(tmp_path_factory.mktemp("service"), languages=LANGUAGES, **run_options) as running:
        yield running


@contextlib.contextmanager
def _visited(browser, url, *expected: str, **options):
    """A visit that must leave nothing wrong behind, but what is expected."""
    visit = Visit(browser, url, **options)
    visit.context.set_default_timeout(seconds(PATIENCE) * 1000)
    try:
        yield visit
        left = [text for text in visit.wrong if not any(word in text for word in expected)]
        assert not left
        assert not visit.elsewhere
    finally:
        visit.context.close()


@pytest.fixture
def visit(browser, server):
    with _visited(browser, server.url) as made:
        yield made


def test_output_comes_while_the_program_runs(visit):
    visit.program("print('early', flush=True)\ninput()\nprint('late')", mode="typed").run()
    expect(visit.output).to_contain_text("early")
    expect(visit.status).to_have_text("Running…")
    assert "late" not in visit.output.inner_text()
    visit.tab.keyboard.press("Enter")
    visit.ended("Exited with 0")
    expect(visit.output).to_contain_text("late")
    expect(visit.status).to_contain_text("Finished: exited with 0 after")
    parts = visit.tab.locator("#parts")
    for heading in ("Used, of what was allowed", "Where the time went", "Evidence"):
        expect(parts.get_by_role("heading", name=heading)).to_be_visible()
    expect(parts.get_by_role("img", name=re.compile("waiting .* set-up .* running .* clean-up"))).to_be_visible()
    visit.unfold("What was enforced")
    expect(parts.get_by_role("row", name=re.compile("Network.*enforced.*none"))).to_be_visible()


def test_a_compiled_program(visit):
    code = '#include <iostream>\nint main() { int a, b; std::cin >> a >> b; std::cout << a + b << "\\n"; return 3; }'
    visit.program(code, "cpp", stdin="20 22\n").run().ended("Exited with 3")
    assert visit.output.inner_text().strip() == "42"
    expect(visit.tab.locator("#parts")).to_contain_text("It made a program")


def test_what_the_compiler_says_leads_to_its_line(visit):
    visit.program("int main() {\n    return x;\n}\n", "cpp").run().ended("Not compiled")
    expect(visit.output).to_contain_text("was not declared in this scope")
    visit.tab.get_by_role("button", name="Line 2").click()
    visit.tab.keyboard.type("0 + ")
    expect(visit.tab.locator(".cm-activeLine")).to_have_text("    return 0 + x;")
    expect(visit.tab.locator(".cm-lintRange-error")).not_to_have_count(0)


def test_stop(visit):
    visit.program("import time\nprint('on', flush=True)\ntime.sleep(15)").run()
    expect(visit.output).to_contain_text("on")
    visit.tab.click("#stop")
    visit.ended("Stopped")
    visit.run()
    expect(visit.output).to_contain_text("on")
    visit.tab.keyboard.press("Escape")
    visit.ended("Stopped")


def test_input_that_is_typed_while_it_runs(visit):
    visit.program("while True:\n    print('<' + input('? ') + '>', flush=True)", mode="typed").run()
    expect(visit.output).to_contain_text("?")
    line = visit.tab.get_by_label("Input for the program")
    expect(line).to_be_focused()
    for word in ("one", "two"):
        visit.tab.keyboard.type(f"{word}\n")
        expect(visit.output).to_contain_text(f"<{word}>")
    visit.tab.get_by_role("button", name="End of input").click()
    visit.ended("Exited with 1")
    expect(visit.output).to_contain_text("EOFError")
    expect(line).to_be_hidden()


def test_a_terminal(visit):
    visit.program("trap 'echo caught; exit 7' INT\ntty\necho ready\nwhile :; do sleep 0.05; done", "bash", mode="terminal").run()
    expect(visit.output).to_contain_text("ready")
    expect(visit.output).to_contain_text("/dev/")
    visit.tab.get_by_role("button", name="Ctrl+C").click()
    visit.ended("Exited with 7")
    expect(visit.output).to_contain_text("caught")


def test_a_time_limit(visit):
    visit.program("while True: pass", limits={"wall": "500ms"}).run().ended("Time limit")
    expect(visit.tab.locator("#parts")).to_contain_text("deadline")
    expect(visit.tab.locator("#parts .banner")).to_contain_text("500 ms")


def test_a_denial_is_explained_by_its_evidence(visit):
    visit.open()
    visit.tab.select_option("#example", label="Asks for a forbidden system call")
    visit.run().ended("Denied")
    expect(visit.tab.locator(".denials")).to_contain_text("The system call mount was refused")
    visit.tab.select_option("#example", label="Tries the network")
    visit.run().ended("Exited with 1")
    expect(visit.tab.locator(".denials")).to_contain_text("Probably: There is no network here.")
    expect(visit.tab.get_by_role("img", name="Memory of the last 2 runs")).to_be_visible()


def test_what_a_program_prints_is_text(visit):
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)><b>bold</b>"
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


def test_a_link_brings_the_program_and_runs_nothing(visit, server):
    visit.program("print('π', input())", stdin="in", args="-x 'a b'", mode="typed", profile="strict", limits={"memory": "64MiB"})
    before = server.log.read_text().count("/v1/runs/ws")
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
    assert server.log.read_text().count("/v1/runs/ws") == before
    assert "#" not in server.log.read_text()


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
        _visited(browser, server.url, "401", "Authentication failed") as visit,
    ):
        command = [
            sys.executable,
            "-m",
            "sandbox.cli",
            "serve",
            "--config",
            str(tmp_path / "service.toml"),
            "token",
            "add",
            "alice",
        ]
        token = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        visit.tab.goto(f"{server.url}/")
        field = visit.tab.get_by_role("textbox", name="Token")
        expect(field).to_be_focused()
        field.fill("guess")
        visit.tab.keyboard.press("Enter")
        expect(visit.tab.locator("#token-wrong")).to_contain_text("token is not known")
        field.fill(token)
        visit.tab.keyboard.press("Enter")
        visit.run().ended("Exited with 0")
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


def test_a_server_that_is_gone_is_told(browser, tmp_path, run_options):
    with served(tmp_path, languages=["python3"], **run_options) as server, _visited(browser, server.url, "ERR_") as visit:
        visit.open()
        server.process.terminate()
        server.process.wait(60)
        visit.run().ended("The server is gone")
        expect(visit.tab.locator("#parts")).to_contain_text("Your program is still here")


def test_a_server_that_is_busy_is_told(browser, tmp_path, run_options):
    settings = {"languages": ["python3"], "max_concurrency": 1, "queue_seconds": 3, "websockets": 2}
    sleeps = "import time\nprint('in', flush=True)\ntime.sleep(18)"
    with (
        served(tmp_path, **settings, **run_options) as server,
        _visited(browser, server.url) as first,
        _visited(browser, server.url) as second,
        _visited(browser, server.url, "WebSocket connection") as third,
    ):
        third.open()
        first.program(sleeps).run()
        expect(first.output).to_contain_text("in")
        second.program("1").run()
        expect(second.status).to_have_text("Waiting for its turn…")
        second.tab.click("#stop")
        second.ended("Stopped")
        second.run()
        expect(second.status).to_have_text("Waiting for its turn…")
        third.run().ended("Too much at once")
        second.ended("The server is busy")
        expect(second.tab.locator("#parts")).to_contain_text("Try again")
        first.tab.click("#stop")
        first.ended("Stopped")
        third.run().ended("Exited with 0")


@pytest.mark.parametrize(
    ("limits", "said"),
    [({"memory": "1TiB"}, "ask for at most"), ({"wall": "soon"}, "limit wall"), ({"pids": "99999"}, "ask for at most")],
)
def test_what_the_server_does_not_take_is_told(visit, limits, said):
    visit.program("1", limits=limits).run().ended("The server does not take this")
    expect(visit.tab.locator("#parts")).to_contain_text(said)


def test_all_of_it_with_the_keyboard(visit):
    visit.program("print('by hand')")
    press = visit.tab.keyboard.press
    wait_until(lambda: press("Tab") or _focused(visit) == "run", within=5)
    press("Enter")
    visit.ended("Exited with 0")
    wait_until(lambda: press("Tab") or _focused(visit) == "editor", within=5)
    visit.tab.keyboard.type("x")
    press("Tab")
    assert _focused(visit) == "editor"  # a tab is text here
    press("Escape")
    press("Tab")
    assert _focused(visit) != "editor"
    press("Shift+Tab")
    assert _focused(visit) == "editor"
    press("Control+a")
    visit.tab.keyboard.type("print('again')")
    press("Control+Enter")
    expect(visit.output).to_contain_text("again")
    visit.ended("Exited with 0")


def test_the_parts_can_be_made_larger_and_smaller(visit):
    visit.open()
    width = "() => document.getElementById('program').offsetWidth"
    before = visit.tab.evaluate(width)
    bar = visit.tab.get_by_role("separator", name="Width of the program")
    bar.focus()
    visit.tab.keyboard.press("ArrowLeft")
    assert visit.tab.evaluate(width) < before
    box = bar.bounding_box()
    visit.tab.mouse.move(box["x"] + 5, box["y"] + 300)
    visit.tab.mouse.down()
    visit.tab.mouse.move(box["x"] + 205, box["y"] + 300)
    visit.tab.mouse.up()
    assert visit.tab.evaluate(width) > before + 100
    visit.tab.reload()
    assert visit.tab.evaluate(width) > before + 100


def _focused(visit) -> str:
    return visit.tab.evaluate("() => document.activeElement.id")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_themes_can_be_read_and_used_by_everybody(browser, server, scheme):
    with _visited(browser, server.url, color_scheme=scheme) as visit:
        paint = "() => getComputedStyle(document.body).backgroundColor"
        visit.open()
        dark = sum(map(int, re.findall(r"\d+", visit.tab.evaluate(paint))[:3])) < 200
        assert dark == (scheme == "dark")
        visit.tab.select_option("#example", label="Colours, and what is no colour")
        visit.run().ended("Exited with 0")
        visit.tab.select_option("#example", label="Tries the network")
        visit.run().ended("Exited with 1")
        visit.unfold("What was enforced")
        visit.unfold("These runs as a table")
        _accessible(visit)
        visit.tab.get_by_role("button", name="Share").click()
        _accessible(visit)


def _accessible(visit) -> None:
    found = Axe().run(visit.tab).response["violations"]
    assert not [(item["id"], item["nodes"][0]["html"], item["nodes"][0]["failureSummary"]) for item in found]


@pytest.mark.parametrize("width", [320, 390, 768])
def test_a_narrow_window_needs_no_sideways_scroll(browser, server, width):
    with _visited(browser, server.url, viewport={"width": width, "height": 800}) as visit:
        visit.program("print('wide ' * 100)\nraise SystemExit('x' * 300)").run().ended("Exited with 1")
        visit.unfold("What was enforced")
        assert visit.tab.evaluate("() => document.documentElement.scrollWidth") <= width

"""The page in a real browser: how it is used. Every test ends with: no complaint of the browser, no other server asked."""

from __future__ import annotations

import re

import pytest

from tests.support.clock import wait_until
from tests.support.require import missing
from tests.support.served import served

pytestmark = [pytest.mark.requires("browser")]
if missing("browser") is None:
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import expect

    from tests.support.browsing import visited


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


def test_a_server_that_is_gone_is_told(browser, tmp_path, run_options):
    with served(tmp_path, languages=["python3"], **run_options) as server, visited(browser, server.url, "ERR_") as visit:
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
        visited(browser, server.url) as first,
        visited(browser, server.url) as second,
        visited(browser, server.url, "WebSocket connection") as third,
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
def test_both_themes_can_be_read_and_used_by_everybody(browser, page_server, scheme):
    with visited(browser, page_server.url, color_scheme=scheme) as visit:
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
def test_a_narrow_window_needs_no_sideways_scroll(browser, page_server, width):
    with visited(browser, page_server.url, viewport={"width": width, "height": 800}) as visit:
        visit.program("print('wide ' * 100)\nraise SystemExit('x' * 300)").run().ended("Exited with 1")
        visit.unfold("What was enforced")
        assert visit.tab.evaluate("() => document.documentElement.scrollWidth") <= width

"""The page: complete, self-contained, and harmless whatever is in it."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser

from sandbox.grader import html, plots
from sandbox.grader.model import GroupResult, Verdict
from tests.unit.grader.reports import EVIL, case, report

VOID = {"meta", "line", "rect"}


class Reader(HTMLParser):
    """Checks that tags close in order, and collects what is there."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


def test_nothing_hostile_becomes_markup():
    page = html.page([report(), report()])
    reader = read(page)
    allowed = {"html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "h3", "h4", "section", "dl", "dt", "dd",
               "div", "table", "caption", "thead", "tbody", "tr", "th", "td", "span", "pre", "details", "summary", "ul", "li",
               "p", "a", "svg", "line", "text", "rect"}  # fmt: skip
    assert {tag for tag, _ in reader.tags} - {"title"} <= allowed
    names = {name for _, attributes in reader.tags for name in attributes}
    assert not [name for name in names if name.startswith("on") or name in ("src", "style", "srcdoc", "action")]
    links = [attributes["href"] for tag, attributes in reader.tags if tag == "a"]
    assert links == ["#submission-1", "#submission-2"]
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", page)
    assert "http" not in page.replace('http-equiv="Content-Security-Policy"', "")


def test_the_page_forbids_itself_scripts_and_connections():
    page = html.page([report()])
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert policy.group(1).startswith("default-src 'none'; style-src 'unsafe-inline'")
    assert page.index("Content-Security-Policy") < page.index("<title>")


def test_everything_that_was_said_is_there():
    text = "".join(read(html.page([report()])).text)
    for words in (
        "judge <script>",
        "team <script>",
        "err \ufffd<script>",
        "warning: <script>",
        "reason <script>",
        "why <script>",
    ):
        assert words in text
    assert r"\x1b[2J\x00\u202e\r" in text
    assert "- 3" in text
    assert "+ 2" in text
    assert "validator" in text
    assert "preempted 3 times" in text


def test_a_diff_shows_what_was_expected_and_what_came():
    assert html.diff(b"a\nb\nc\n", b"a\nx\nc\n") == [(" ", "a"), ("-", "b"), ("+", "x"), (" ", "c"), (" ", "")]
    assert html.diff(b"a", b"a") == []


def test_sizes_are_bounded():
    huge = (EVIL * 20000).encode()
    cases = tuple(case(str(number), Verdict.WA, stdout=huge, expected=huge[1:], message=EVIL * 20000) for number in range(300))
    big = report(tests=GroupResult("", Verdict.WA, None, cases), compile_output=EVIL * 200000, judge_output=EVIL * 200000)
    page = html.page([big])
    assert len(page) < 40 << 20
    assert "100 cases have no details here" in page
    assert len(html.diff(huge, huge[1:])) <= 400


def test_a_report_without_cases():
    page = html.page([report(verdict=Verdict.CE, tests=None, decided_by="")])
    assert "compile error" in page
    assert "What the compiler said of the problem's own program" in page
    assert "<svg" not in page
    assert read(html.page([])).open == []


def test_verdicts_all_have_words():
    for verdict in Verdict:
        assert html.page([dataclasses.replace(report(), verdict=verdict)])


def test_plots_name_the_highest_and_escape_names():
    svg = plots.bars([plots.Bar(EVIL, 1.0, "AC"), plots.Bar("b", 0.25, "WA")], title="CPU time", unit="s", limit=2.0)
    reader = read(svg)
    assert [attributes["class"] for tag, attributes in reader.tags if tag == "rect"] == ["bar AC", "bar WA"]
    heights = [float(attributes["height"] or 0) for tag, attributes in reader.tags if tag == "rect"]
    assert heights[0] == 4 * heights[1] or abs(heights[0] - 4 * heights[1]) < 0.1
    assert "the highest is 1 s" in (reader.tags[0][1]["aria-label"] or "")
    assert plots.bars([], title="t", unit="s") == ""


def test_many_cases_share_bars_and_the_highest_is_seen():
    items = [plots.Bar(str(number), 1.0 if number == 777 else 0.1, "AC") for number in range(5000)]
    svg = plots.bars(items, title="t", unit="s")
    assert svg.count("<rect") <= 480
    assert "<title>777: 1 s, AC</title>" in svg


def test_values_of_zero_can_be_drawn():
    assert "<rect" in plots.bars([plots.Bar("a", 0.0, "AC")], title="t", unit="s")

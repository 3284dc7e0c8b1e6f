"""The page of the service in Debian's Chromium: what a person does on it, in few words."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.clock import seconds

_FLAGS = ("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
          "--disable-sync")  # fmt: skip


@contextmanager
def chromium() -> Iterator[Browser]:
    """Chromium without a window."""
    expect.set_options(timeout=seconds(45) * 1000)
    flags = [*_FLAGS, "--no-sandbox"] if os.getuid() == 0 else list(_FLAGS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """One tab of one person, who has never been here before.

    Attributes:
        tab: the page, for what has no word here.
        wrong: what the browser complained about: violations of the policy, exceptions, requests that failed.
        elsewhere: addresses of other servers that it asked.
    """

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        self.url = url
        self.context = browser.new_context(viewport=options.pop("viewport", {"width": 1280, "height": 860}), **options)
        self.wrong: list[str] = []
        self.elsewhere: list[str] = []
        self.tab = self.context.new_page()
        self.watch(self.tab)

    def watch(self, tab: Page) -> None:
        """Note what goes wrong in a tab."""
        tab.on("console", lambda message: self.wrong.append(message.text) if message.type in ("error", "warning") else None)
        tab.on("pageerror", lambda error: self.wrong.append(str(error)))
        tab.on("dialog", lambda dialog: (self.wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        tab.on("request", lambda request: None if _own(request.url, self.url) else self.elsewhere.append(request.url))

    def open(self, fragment: str = "") -> Visit:
        """Go to the page, and wait until a run could begin."""
        self.tab.goto(f"{self.url}/{fragment}")
        expect(self.tab.locator("#run")).to_be_enabled()
        return self

    def program(self, code: str, language: str = "python3", **state: Any) -> Visit:
        """Open a link with this program."""
        return self.open(link(language=language, code=code, **state))

    def run(self) -> Visit:
        """Press Run."""
        self.tab.click("#run")
        return self

    @property
    def output(self):
        return self.tab.locator("#text")

    @property
    def status(self):
        return self.tab.locator("#status")

    @property
    def banner(self):
        return self.tab.locator("#parts .banner .title")

    def unfold(self, title: str) -> Visit:
        """Open a part of the result. One that has something to tell is open already."""
        part = self.tab.locator("#parts details", has=self.tab.get_by_text(title, exact=True))
        if part.get_attribute("open") is None:
            part.locator("summary").click()
        return self

    def ended(self, title: str | re.Pattern[str]) -> Visit:
        """Wait for this end."""
        expect(self.banner).to_have_text(title)
        expect(self.tab.locator("#run")).to_be_enabled()
        return self


@contextmanager
def visited(browser: Browser, url: str, *expected: str, **options: Any) -> Iterator[Visit]:
    """A visit that must leave nothing wrong behind, but what is expected."""
    visit = Visit(browser, url, **options)
    visit.context.set_default_timeout(seconds(45) * 1000)
    try:
        yield visit
        left = [text for text in visit.wrong if not any(word in text for word in expected)]
        assert not left
        assert not visit.elsewhere
    finally:
        visit.context.close()


def _own(url: str, base: str) -> bool:
    return url.startswith((f"{base}/", f"{base.replace('http', 'ws')}/", "data:", "blob:"))


def link(**state: Any) -> str:
    """The fragment of a link, as the page makes them."""
    return packed(json.dumps(state).encode())


def packed(data: bytes) -> str:
    """Any bytes in the form of a link."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return "#s1." + base64.urlsafe_b64encode(packer.compress(data) + packer.flush()).decode().rstrip("=")

"""A real browser before a real service: Debian's Chromium, headless, and whatever its pages complain of."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Playwright, sync_playwright
from waiting import wait_until

PATIENCE_MS = 30_000
_COMPLAINTS = "securitypolicyviolation"


@contextmanager
def browsing() -> Iterator[Browser]:
    """The browser; a test that needs it is skipped where there is none."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = launched(playwright, path)
        try:
            yield browser
        finally:
            browser.close()


def launched(playwright: Playwright, path: str) -> Browser:
    return playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])


class Service:
    """`tuner serve` over a folder, in a process of its own."""

    def __init__(self, results: Path, *options: str) -> None:
        self.results, self.options, self.port = results, options, 0
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> str:
        """A link that lets a browser in; again at the same port."""
        command = [sys.executable, "-m", "tuner", "serve", "--json", "--results", str(self.results)]
        command += ["--port", str(self.port), *self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
        assert self.process.stdout is not None
        told = ""
        while not told.endswith("}\n"):
            line = self.process.stdout.readline()
            assert line, "the service did not start"
            told += line
        link = str(json.loads(told)["link"])
        self.port = int(link.split("/")[2].rpartition(":")[2])
        wait_until(self._answers)
        return link

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/login", timeout=2).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """Ends it without a word."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            if self.process.stdout is not None:
                self.process.stdout.close()


class Visitor:
    """Somebody who looks at pages, and hears every complaint of theirs."""

    def __init__(
        self, browser: Browser, link: str, *, width: int = 1280, height: int = 1600, dark: bool = False
    ) -> None:
        size = {"width": width, "height": height}
        self.context = browser.new_context(viewport=size, color_scheme="dark" if dark else "light")  # type: ignore[arg-type]
        self.context.set_default_timeout(PATIENCE_MS)
        self.complaints: list[str] = []
        self.context.expose_function("complain", lambda text: self.complaints.append(text))  # a method it cannot take
        self.context.add_init_script(
            f"addEventListener('{_COMPLAINTS}', (event) => complain(event.violatedDirective + ' ' + event.blockedURI))"
        )
        self.origin = "/".join(link.split("/")[:3])
        page = self.page()
        page.goto(link)
        page.wait_for_url(f"{self.origin}/")
        page.close()

    def page(self, path: str | None = None) -> Page:
        """A new tab."""
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        if path is not None:
            page.goto(self.origin + path)
        return page

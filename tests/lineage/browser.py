"""Opens a page in Debian's Chromium and collects everything that is wrong with it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Page, Request, sync_playwright

LAPTOP, PHONE = (1280, 900), (390, 844)
_HERE = ("file", "data", "blob")


@contextlib.contextmanager
def opened(
    url: str | Path, size: tuple[int, int] = LAPTOP, scheme: str = "light"
) -> Iterator[tuple[Page, list[str]]]:
    """Opens a page; yields it with its console messages, errors, dialogs and foreign requests.

    Args:
      url: URL of a page, or path of a file.
      size: Width and height of the window in pixels.
      scheme: Color scheme, 'light' or 'dark'.
    """
    address = url if isinstance(url, str) else url.resolve().as_uri()
    program = shutil.which("chromium-headless-shell")
    assert program, "tests/install_packages.sh installs chromium-headless-shell"
    own, complaints = urlsplit(address), list[str]()

    def check(request: Request) -> None:
        asked = urlsplit(request.url)
        if asked.scheme not in _HERE and asked.netloc != own.netloc:
            complaints.append(f"request to {request.url}")

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program,
            args=["--no-sandbox", "--disable-dev-shm-usage"],  # root, in a container or chroot
        )
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if scheme == "dark" else "light",
        )
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        page.on("request", check)
        page.goto(address)
        yield page, complaints
        browser.close()


def scroll_through(page: Page) -> None:
    """Scrolls down, so that everything that is drawn when visible has been drawn."""
    page.wait_for_function(
        """() => {
          const next = [...document.querySelectorAll(".plot")].find((plot) => !plot.dataset.drawn);
          next?.scrollIntoView({ block: "center", behavior: "instant" });
          return !next;
        }"""
    )

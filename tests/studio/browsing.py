"""Chromium, as Debian has it, and what is done in it again and again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, expect, sync_playwright

NODE = Path(__file__).parent / "node"
CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
DESKTOP, PHONE = (1280, 900), (390, 844)
PATIENCE_MS = 30_000
expect.set_options(timeout=PATIENCE_MS)


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser, without a window."""
    playwright: Playwright
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Studio:
    """The page, opened. wrong: what its console has said that it should not have. allowed: parts of what it may say."""

    page: Page
    root: str
    wrong: list[str] = field(default_factory=list)
    allowed: tuple[str, ...] = ()

    def open(self, address: str = "#/") -> None:
        """Goes to a view."""
        self.page.goto(f"{self.root}/{address}")
        self.page.locator("main > .view").wait_for()

    def heard(self, message: ConsoleMessage) -> None:
        """Notes an error or a warning."""
        if message.type in ("error", "warning") and not any(part in message.text for part in self.allowed):
            self.wrong.append(f"{message.type}: {message.text}")

    def generate(self, caption: str, count: int = 1, seed: int | None = None) -> None:
        """Makes pictures on the first view, and waits for them."""
        self.open()
        self.page.get_by_label("Caption", exact=True).fill(caption)
        self.page.get_by_label("Pictures", exact=True).fill(str(count))
        if seed is not None:
            self.page.get_by_label("Seed", exact=True).fill(str(seed))
        self.page.get_by_role("button", name="Generate").click()
        self.finished(caption)

    def finished(self, title: str) -> None:
        """Waits until the request of that title is done."""
        self.page.locator(f'.job[aria-label="{title}"][data-state="done"]').first.wait_for()

    def picture(self, caption: str = "a red apple", seed: int = 7) -> str:
        """Makes a picture and opens its page; its digest."""
        self.generate(caption, seed=seed)
        self.page.locator(".job .tile").first.click()
        self.page.locator(".picture .stage img").wait_for()
        return self.shown()

    def shown(self) -> str:
        """The digest of the picture whose page is open."""
        return self.page.url.partition("#/picture/")[2][:64]

    def stored(self, digest: str) -> bytes:
        """A file that the browser keeps."""
        found: list[int] = self.page.evaluate(
            """async (digest) => {
                const { store } = await import("/studio/js/store.js");
                return [...new Uint8Array(await (await store.file(digest)).blob.arrayBuffer())];
            }""",
            digest,
        )
        return bytes(found)

    def pictures(self) -> list[dict[str, Any]]:
        """What the browser knows of all its pictures, newest first."""
        found: list[dict[str, Any]] = self.page.evaluate('async () => (await import("/studio/js/store.js")).store.all')
        return found

    def tab(self, name: str) -> None:
        """Chooses what to do with a picture."""
        self.page.get_by_role("tab", name=name).click()


@contextmanager
def studio(browser: Browser, root: str, size: tuple[int, int] = DESKTOP, **options: Any) -> Iterator[Studio]:
    """A window of its own, with nothing in it yet; what its console says must be nothing."""
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, **options)
    context.set_default_timeout(PATIENCE_MS)
    try:
        opened = Studio(context.new_page(), root)
        opened.page.on("console", opened.heard)
        opened.page.on("pageerror", lambda error: opened.wrong.append(f"page: {error}"))
        yield opened
        assert opened.wrong == []
    finally:
        context.close()

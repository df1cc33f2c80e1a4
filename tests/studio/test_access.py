"""For everybody: axe finds nothing serious in any view, at the size of a desk and of a phone, in light and in dark."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.studio.browsing import DESKTOP, NODE, PHONE, Studio, studio
from tests.web.stacks import WebStack

AXE = NODE / "node_modules" / "axe-core" / "axe.min.js"
pytestmark = pytest.mark.skipif(not AXE.exists(), reason="needs npm's axe-core")


@pytest.fixture(params=[(DESKTOP, "light"), (PHONE, "dark")], ids=["desk, light", "phone, dark"])
def seen(request: pytest.FixtureRequest, browser: Browser, stack: WebStack) -> Iterator[Studio]:
    """The page without its policy, which lets nothing strange into it, axe neither."""
    size, scheme = request.param
    with studio(browser, stack.root, size, color_scheme=scheme, bypass_csp=True, reduced_motion="reduce") as opened:
        yield opened


def findings(page: Page) -> list[str]:
    """What axe finds serious or critical in what is shown."""
    if not page.evaluate("'axe' in window"):
        page.add_script_tag(path=AXE)
    found: dict[str, Any] = page.evaluate("axe.run({ resultTypes: ['violations'] })")
    return [
        f"{each['id']}: {node['html'][:200]} {node['failureSummary']}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


def wider_than_the_screen(page: Page) -> bool:
    """Whether the page has to be moved sideways."""
    # A phone that is emulated shows a wide page small: innerWidth grows with it.
    wider: bool = page.evaluate("document.documentElement.scrollWidth > Math.min(innerWidth, screen.width)")
    return wider


def test_axe_finds_nothing_serious_and_nothing_is_wider_than_the_screen(seen: Studio) -> None:
    page = seen.page
    seen.generate("a red apple", count=2, seed=7)
    page.get_by_text("Advanced").click()
    assert (findings(page), wider_than_the_screen(page)) == ([], False)
    page.locator(".job .tile").first.click()
    for tab in ("Vary", "Text diff", "Interpolate", "Edit"):
        seen.tab(tab)
        assert (tab, findings(page), wider_than_the_screen(page)) == (tab, [], False)
    page.get_by_role("link", name="Calculate with it").click()
    page.get_by_role("button", name="− Caption").click()
    assert (findings(page), wider_than_the_screen(page)) == ([], False)
    page.get_by_role("button", name="+ Picture…").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert findings(page) == []
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    page.get_by_role("link", name="Pictures").click()
    page.get_by_role("button", name="Select").click()
    for index in (0, 1):
        page.locator(".history .tile").nth(index).click()
    assert (findings(page), wider_than_the_screen(page)) == ([], False)
    page.get_by_role("button", name="Compare").click()
    assert (findings(page), wider_than_the_screen(page)) == ([], False)


def test_a_caption_of_4096_letters_without_a_space_fits_on_a_phone(browser: Browser, stack: WebStack) -> None:
    with studio(browser, stack.root, PHONE, is_mobile=True, has_touch=True) as seen:
        seen.picture("a" * 4096)
        for tab in ("Vary", "Text diff", "Interpolate", "Edit"):
            seen.tab(tab)
            assert (tab, wider_than_the_screen(seen.page)) == (tab, False)
        seen.page.get_by_role("tab", name="Edit").press("Home")
        expect(seen.page.get_by_role("tab", name="Vary")).to_be_focused()
        seen.page.get_by_role("tab", name="Vary").press("End")
        expect(seen.page.get_by_role("tab", name="Edit")).to_be_focused()
        seen.page.get_by_role("link", name="Generate").click()
        assert not wider_than_the_screen(seen.page)
        seen.page.get_by_role("link", name="Pictures").click()
        assert not wider_than_the_screen(seen.page)


def test_every_control_is_reached_by_the_tabulator_and_the_focus_is_seen(here: Studio) -> None:
    here.open()
    reached = []
    for _ in range(16):
        here.page.keyboard.press("Tab")
        name: str = here.page.evaluate(
            """(() => {
                const at = document.activeElement;
                const seen = at.tagName === "BODY" || getComputedStyle(at).outlineStyle !== "none";
                return (at.ariaLabel || at.labels?.[0]?.textContent || at.textContent.trim()) + (seen ? "" : " unseen");
            })()"""
        )
        reached.append(name)
    wanted = {"To the content", "Generate", "Pictures", "Caption", "Throw a seed", "Keep this seed", "Advanced"}
    assert wanted <= set(reached)
    assert not [name for name in reached if "unseen" in name]


def test_what_happens_is_said_to_screen_readers(here: Studio) -> None:
    here.open()
    said: list[str] = []
    here.page.expose_function("heard", lambda text: said.append(text))
    here.page.evaluate(
        "new MutationObserver(() => heard(announcer.textContent)).observe(announcer, { childList: true })"
    )
    here.page.get_by_label("Caption", exact=True).fill("a red apple")
    here.page.get_by_text("Advanced").click()
    here.page.get_by_role("group", name="Decoder").get_by_label("Steps").fill("400")  # long enough to be told of
    here.page.get_by_role("button", name="Generate").click()
    here.finished("a red apple")
    expect(here.page.locator("#announcer")).to_have_text("a red apple: finished")
    assert any("Prior" in each or "Decoder" in each for each in said)
    assert len(said) < 20  # news, not every step

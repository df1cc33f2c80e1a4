"""A service that is away, busy, or wants a key: the page says so in plain words, and goes on by itself."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, Route, expect

from tests.processes import Process, free_port
from tests.studio.browsing import PATIENCE_MS, Studio, studio
from tests.web.stacks import PATIENCE_S, web_before

NETWORK = ("Failed to load resource",)  # which browsers say of whatever is refused
# Keeps all that a page says of its jobs: on a busy machine some of it has gone before anyone looks.
WATCH = """() => {
  window.told = new Set();
  const look = () => document.querySelectorAll(".job .status").forEach((status) => told.add(status.textContent));
  new MutationObserver(look).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""


def ask(page: Page) -> None:
    page.get_by_label("Caption", exact=True).fill("a red apple")
    page.get_by_label("Pictures", exact=True).fill("1")
    page.get_by_role("button", name="Generate").click()


def answering(here: Studio, *errors: tuple[int, dict[str, Any]]) -> list[float]:
    """Has the first streams refused so, and then served; when each was asked for, in seconds."""
    left, asked = list(errors), list[float]()

    def answer(route: Route) -> None:
        asked.append(datetime.datetime.now().timestamp())
        if left:
            status, error = left.pop(0)
            route.fulfill(status=status, json={"error": error})
        else:
            route.continue_()

    here.page.route("**/api/v1/stream", answer)
    here.allowed = NETWORK
    return asked


def test_a_busy_service_is_asked_again_when_it_says(here: Studio) -> None:
    asked = answering(
        here, (429, {"code": "RESOURCE_EXHAUSTED", "reason": "OVERLOADED", "retryAfter": 2.0, "message": "full"})
    )
    here.open()
    ask(here.page)
    expect(here.page.locator(".job .status")).to_have_text("The service is busy. Trying again in 2 s.")
    here.finished("a red apple")
    assert asked[1] - asked[0] >= 2


def test_a_service_that_is_away_is_waited_for_and_may_be_tried_at_once(here: Studio) -> None:
    away = (503, {"code": "UNAVAILABLE", "reason": "STAGE_UNAVAILABLE", "message": "away", "retryAfter": 600.0})
    answering(here, away)
    here.page.route("**/api/v1/model*", lambda route: route.abort())
    here.open()
    ask(here.page)
    expect(here.page.locator("#banner")).to_contain_text("The service cannot be reached.")
    expect(here.page.locator(".job .status")).to_contain_text("Trying again in 600 s")
    hurry, told = here.page.get_by_role("button", name="Try now"), here.page.locator("#banner span").inner_text()
    hurry.focus()
    expect(here.page.locator("#banner span")).not_to_have_text(told)
    expect(hurry).to_be_focused()  # while the seconds are told
    here.page.unroute("**/api/v1/model*")
    hurry.click()
    here.finished("a red apple")
    expect(here.page.locator("#banner")).to_be_hidden()


def test_what_a_stream_breaks_off_with_is_told_and_what_may_pass_is_begun_anew_with_the_same_seed(here: Studio) -> None:
    asked = list[str]()

    def answer(route: Route) -> None:
        body: Any = route.request.post_data_json
        asked.append(body["generate"]["seed"])
        broken = 'event: progress\ndata: {"progress": {"stage": "STAGE_PRIOR", "step": 1, "of": 9}}\n\n'
        if len(asked) == 2:
            error = {"code": "UNAVAILABLE", "reason": "REPLICA_LOST", "message": "lost"}
            broken += f"event: error\ndata: {json.dumps({'error': error})}\n\n"
        if len(asked) == 3:
            error = {"code": "INTERNAL", "reason": "INTERNAL", "message": "The server had an error. Its id is 1."}
            broken += f"event: error\ndata: {json.dumps({'error': error})}\n\n"
        route.fulfill(status=200, content_type="text/event-stream", body=broken)

    here.page.route("**/api/v1/stream", answer)
    here.open()
    ask(here.page)
    expect(here.page.locator('.job[data-state="failed"]')).to_contain_text("The server had an error. Its id is 1.")
    assert len(asked) == 3
    assert len(set(asked)) == 1


def keys(folder: Path) -> tuple[Path, str, str]:
    """A file with two keys, of which the first has expired; the file and both."""
    command = [sys.executable, "-m", "unclip.cli", "keys", "new"]
    alice, bob = (
        json.loads(subprocess.run([*command, name, "--json"], capture_output=True, check=True).stdout)
        for name in ("alice", "bob")
    )
    alice["keys"]["alice"]["expires"] = "2020-01-01T00:00:00Z"
    file = folder / "keys.json"
    file.write_text(json.dumps({"keys": alice["keys"] | bob["keys"]}))
    return file, alice["key"], bob["key"]


def test_a_key_is_asked_for_a_place_in_the_queue_is_told_and_a_gateway_that_comes_back_is_found(
    browser: Browser, tmp_path: Path
) -> None:
    file, expired, valid = keys(tmp_path)
    words = ["--port", str(free_port()), "--api-keys", str(file), "--step-seconds", "0.08", "--capacity", "1"]
    with ExitStack() as exits:
        first = exits.enter_context(Process("unclip.testing", words, tmp_path, "stubs"))
        stack = exits.enter_context(web_before(first.address(PATIENCE_S), tmp_path))
        here = exits.enter_context(studio(browser, stack.root))
        here.allowed = NETWORK
        here.open()
        dialog = here.page.get_by_role("dialog")
        expect(dialog).to_contain_text("This service is for those who have a key.")
        for key, said in (("nonsense", "does not know the key"), (expired, "has expired")):
            dialog.get_by_label("Key", exact=True).fill(key)
            dialog.get_by_role("button", name="Use it").click()
            expect(dialog).to_contain_text(said)
        dialog.get_by_label("Key", exact=True).fill(valid)
        dialog.get_by_role("button", name="Use it").click()
        expect(dialog).to_be_hidden()
        assert here.page.evaluate("[document.cookie, localStorage.length, sessionStorage.length]") == ["", 0, 1]
        here.page.evaluate(WATCH)
        ask(here.page)
        ask(here.page)
        expect(here.page.locator('.job[data-state="done"]')).to_have_count(2, timeout=PATIENCE_MS)
        assert "In the queue, 1 ahead" in here.page.evaluate("[...told].join()")
        first.kill()
        ask(here.page)
        expect(here.page.locator("#banner")).to_contain_text("The service cannot be reached.")
        with Process("unclip.testing", words, tmp_path, "again") as again:
            again.address(PATIENCE_S)
            expect(here.page.locator('.job[data-state="done"]')).to_have_count(3, timeout=PATIENCE_MS)
            expect(here.page.locator("#banner")).to_be_hidden()

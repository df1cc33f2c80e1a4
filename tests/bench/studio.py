"""studio: what somebody feels who works with the page, measured in Chromium before all services on this machine.

Preview: from the moment that the page hears of the decoder's first step until a preview can be seen; four pictures.
Scrubbing: every frame of the screen moves the slider of a finished text diff; frames drawn, a second. History: pictures
by the hundred, scrolled from end to end; the longest time without a frame of the screen. Leaving: the tab is closed in
the middle of long work; steps that the decoder still takes, and seconds until nothing runs.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

from tests.bench.asking import CAPTION
from tests.bench.options import Options
from tests.bench.report import Report
from tests.metrics import Metrics
from tests.processes import free_port
from tests.studio.browsing import Studio, chromium, studio
from unclip.local.stack import LocalStack

PATIENCE_S = 60.0
ROUNDS, ROUNDS_QUICK = 5, 2
HISTORY, HISTORY_QUICK = 500, 60
SCRUB_S, SCRUB_QUICK_S = 5, 1

PREVIEW = """async () => {
    const { jobs } = await import("/studio/js/jobs.js");
    window.measured = new Promise((resolve) => {
        let began = 0;
        const begin = ({ detail: job }) => {
            if (job.state !== "running") return;
            jobs.removeEventListener("change", begin);
            job.addEventListener("change", () => {
                if (!began && job.fraction("STAGE_DECODER") > 0) began = performance.now();
            });
        };
        jobs.addEventListener("change", begin);
        const look = () => {
            const seen = [...document.querySelectorAll(".made img")].some((each) => each.complete && each.naturalWidth);
            if (seen) resolve(performance.now() - began);
            else requestAnimationFrame(look);
        };
        look();
    });
}"""

SCRUB = """(seconds) => new Promise((resolve) => {
    const slider = document.querySelector(".scrub input"), canvas = document.querySelector(".stage canvas");
    const [low, high] = [Number(slider.min), Number(slider.max)];
    let drawn = 0, before = canvas.dataset.frame, began = performance.now(), last = began, longest = 0, at = 0;
    const tick = (now) => {
        longest = Math.max(longest, now - last);
        last = now;
        if (canvas.dataset.frame !== before) drawn += 1;
        before = canvas.dataset.frame;
        if (now - began > 1000 * seconds) return resolve({ fps: (1000 * drawn) / (now - began), longest });
        at = (at + 0.09) % 2;
        slider.value = String(low + (high - low) * (at > 1 ? 2 - at : at));
        slider.dispatchEvent(new Event("input"));
        requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
})"""

FILL = """async (count) => {
    const { store } = await import("/studio/js/store.js");
    const { pngOf } = await import("/studio/js/bytes.js");
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [128, 128];
    const context = canvas.getContext("2d");
    const added = [];
    for (let at = 0; at < count; at += 1) {
        const noise = crypto.getRandomValues(new Uint8ClampedArray(4 * 128 * 128));
        context.putImageData(new ImageData(noise, 128), 0, 0);
        const about = { created: at, kind: "opened", type: "image/png", width: 128, height: 128, sources: [] };
        added.push({ picture: { ...about, title: `picture ${at}` }, blob: await pngOf(canvas) });
    }
    await store.add(added);
}"""

SCROLL = """() => new Promise((resolve) => {
    let last = performance.now(), longest = 0, frames = 0;
    const began = last;
    const tick = (now) => {
        const end = document.documentElement.scrollHeight - innerHeight; // which is a guess until rows are drawn
        longest = Math.max(longest, now - last);
        [last, frames] = [now, frames + 1];
        if (scrollY >= end - 1) return resolve({ longest, fps: (1000 * frames) / (now - began), tall: end });
        scrollBy(0, 30);
        requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
})"""


def run(options: Options) -> Report:
    """Measures all of it."""
    report, engine = Report("studio"), Metrics(f"127.0.0.1:{free_port()}")
    decoder = {"decoder": ["--metrics", engine.address]}
    with (
        LocalStack(options.checkpoint, threads=options.threads, web_port=0, options=decoder) as stack,
        chromium() as browser,
        studio(browser, f"http://{stack.web_address}") as here,
    ):
        here.page.set_default_timeout(1000 * PATIENCE_S)
        waits = [first_preview(here) for _ in range(ROUNDS_QUICK if options.quick else ROUNDS)]
        report.rows.append({"what": "first preview", "s": [round(each, 3) for each in waits]})
        report.figure("first_preview_s", statistics.median(waits), "<= 0.3")
        found = scrubbing(here, SCRUB_QUICK_S if options.quick else SCRUB_S)
        report.rows.append({"what": "scrubbing", "longest_ms": round(found["longest"], 1)})
        report.figure("scrubbing_fps", found["fps"], ">= 30")
        count = HISTORY_QUICK if options.quick else HISTORY
        found = scrolling(here, count)
        report.rows.append({"what": f"history of {count}", "fps": round(found["fps"], 1), "tall_px": found["tall"]})
        report.figure("history_longest_s", found["longest"] / 1000, "<= 1")
        steps, seconds = leaving(here, engine)
        report.rows.append({"what": "closing the tab", "s": round(seconds, 3)})
        report.figure("steps_after_closing", steps, "<= 2")
    return report


def first_preview(here: Studio) -> float:
    """Seconds from the decoder's first step to a preview that is seen."""
    here.open()
    here.page.reload()
    here.page.get_by_label("Caption", exact=True).fill(CAPTION)
    here.page.evaluate(PREVIEW)
    here.page.get_by_role("button", name="Generate").click()
    waited: float = here.page.evaluate("measured")
    here.finished(CAPTION)
    return waited / 1000


def scrubbing(here: Studio, seconds: float) -> dict[str, float]:
    """Frames a second, and the longest time without one in ms, of a text diff."""
    here.page.locator(".job .tile").first.click()
    here.tab("Text diff")
    here.page.get_by_label("What it should show").fill("a 3d emoji of a lemon")
    here.page.get_by_label("Frames").fill("17")
    here.page.get_by_role("button", name="Transform").click()
    here.page.locator('.job[data-state="done"]').wait_for()
    here.page.locator(".ticks .there").nth(16).wait_for()
    found: dict[str, float] = here.page.evaluate(SCRUB, seconds)
    return found


def scrolling(here: Studio, count: int) -> dict[str, Any]:
    """The same of a history of ``count`` pictures; tall: how many pixels it has."""
    here.page.evaluate(FILL, count)
    here.page.reload()
    here.open("#/pictures")
    here.page.locator(".history .tile").nth(count - 1).wait_for(state="attached")
    found: dict[str, Any] = here.page.evaluate(SCROLL)
    return found


def leaving(here: Studio, engine: Metrics) -> tuple[float, float]:
    """Steps that the decoder takes after the tab was closed, and seconds until nothing runs in it."""
    here.open()
    here.page.get_by_label("Caption", exact=True).fill(CAPTION)
    here.page.get_by_label("Pictures", exact=True).fill("1")
    here.page.get_by_text("Advanced").click()
    # Long enough to be left in the middle, and short enough that the gateway believes that it ends in time.
    here.page.get_by_role("group", name="Decoder").get_by_label("Steps").fill("300")
    here.page.get_by_role("button", name="Generate").click()
    here.page.locator(".job img.preview").first.wait_for()
    here.page.close()
    began, before = time.monotonic(), taken(engine)
    while engine.known("unclip_rows_running", stage="decoder") and time.monotonic() - began < PATIENCE_S:
        time.sleep(0.005)
    return taken(engine) - before, time.monotonic() - began


def taken(engine: Metrics) -> float:
    """Steps that the decoder has taken."""
    return engine.known("unclip_step_seconds_count", stage="decoder")

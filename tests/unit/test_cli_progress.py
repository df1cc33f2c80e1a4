"""The progress bar never goes back, and is full when all pictures are there."""

from __future__ import annotations

import pytest

from unclip.cli.progress import Bar
from unclip.client import Edit, Event, Generate, GeneratedImage, Progress, Request, TextDiff, Vary
from unclip.client.values import picture_count


def finished(index: int) -> GeneratedImage:
    return GeneratedImage(b"", "image/png", 1, 1, image_index=index, seed=0, model_version="", recipe=Generate("a"))


def walk(bar: Bar, events: list[Event]) -> list[float]:
    """Where the bar stands after each event, as a fraction."""
    places = []
    for event in events:
        bar.show(event)
        places.append(bar.fraction)
    return places


@pytest.mark.parametrize("request_", [Generate("a cat", image_count=2), Edit(b"", "a cat", image_count=2)])
def test_the_bar_grows_with_the_steps_and_ends_full(request_: Request) -> None:
    events: list[Event] = [Progress("encoder", 1, 1, 0, 0)]
    for index in (0, 1):
        events += [Progress(stage, step, 2, index, 0) for stage in ("prior", "decoder", "upsampler") for step in (1, 2)]
        events.append(finished(index))
    with Bar(request_, "generate") as bar:
        places = walk(bar, events)

    assert places == sorted(places)
    assert 0.4 < places[7] < 0.6
    assert places[-1] == pytest.approx(1)


def test_a_stage_that_starts_again_does_not_move_the_bar_back() -> None:
    with Bar(Generate("a cat"), "generate") as bar:
        places = walk(bar, [Progress("decoder", 5, 10, 0, 0), Progress("decoder", 1, 10, 0, 0)])

    assert places[1] == places[0] > 0


def test_a_picture_fills_its_share_although_its_progress_was_dropped() -> None:
    with Bar(Vary(b"", image_count=1), "vary") as bar:
        places = walk(bar, [Progress("encoder", 1, 1, 0, 0), Progress("invert", 4, 4, 0, 0), finished(0)])

    assert places[-1] == pytest.approx(1)


@pytest.mark.parametrize(
    ("request_", "count"),
    [
        (Generate("a"), 1),
        (Vary(b"", image_count=3), 3),
        (Edit(b"", "a", image_count=2), 2),
        (TextDiff(b"", "", "a", (0.1, 0.2)), 2),
    ],
)
def test_pictures_are_counted_as_the_gateway_counts_them(request_: Request, count: int) -> None:
    assert picture_count(request_) == count

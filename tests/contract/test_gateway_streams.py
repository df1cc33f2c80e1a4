"""Everything that makes pictures, watched and cancelled through the gateway, in front of stubs and of the real."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from tests.contract.conftest import NARROW
from tests.contract.gateways import apart, gateway_of, noise_picture, png
from tests.contract.services import Bounds, Services
from tests.tiny import BASE, FINAL
from unclip import (
    Client,
    Edit,
    Generate,
    GeneratedImage,
    Interpolate,
    Preview,
    Progress,
    Sampling,
    TextDiff,
    Vary,
)
from unclip.client import Request

SOURCE, OTHER = png(noise_picture(FINAL, FINAL)), png(noise_picture(FINAL, FINAL, seed=1))
MASK = png(np.broadcast_to(np.arange(FINAL) >= FINAL // 2, (FINAL, FINAL)))
METHODS = {Generate: "generate", Vary: "vary", TextDiff: "text_diff", Interpolate: "interpolate", Edit: "edit"}
# Little guidance: a random network makes more of it, and of what batches round differently, than a trained one.
DECODER = Sampling(steps=3, guidance_scale=2.0)
STEPS: dict[str, Any] = {"seed": 1, "decoder": DECODER, "upsampler": Sampling(steps=2)}
PRIOR: dict[str, Any] = {"prior_candidates": 1, "prior": Sampling(steps=4)}
DRAWN, TRACED = ("encoder", "prior", "decoder", "upsampler"), ("encoder", "invert", "decoder", "upsampler")

# A request of each kind, and the stages that it goes through.
ASKED: dict[str, tuple[Request, tuple[str, ...]]] = {
    "generate": (Generate("a cat", **STEPS, **PRIOR), DRAWN),
    "generate the best of three": (Generate("a cat", candidates=3, **STEPS, **PRIOR), DRAWN),
    "vary": (Vary(SOURCE, eta=0.5, **STEPS), TRACED),
    "vary from fresh noise": (Vary(SOURCE, start="random", **STEPS), ("encoder", "decoder", "upsampler")),
    "text diff": (TextDiff(SOURCE, "a dog", "a cat", thetas=[0.4], **STEPS), TRACED),
    "interpolate to a picture": (Interpolate(SOURCE, OTHER, ts=[0.4], **STEPS), TRACED),
    "interpolate to a caption": (
        Interpolate(SOURCE, to_caption="a cat", ts=[0.4], prior=Sampling(steps=4), **STEPS),
        ("encoder", "invert", "prior", "decoder", "upsampler"),
    ),
    "edit": (Edit(SOURCE, "a cat", MASK, resampling=1, **STEPS, **PRIOR), DRAWN),
}
AT_ONCE = {
    "text diff": 2,
    "generate the best of three": 3,
    "interpolate to a picture": 2,
    "interpolate to a caption": 2,
}  # samples


def asked_of(name: str, client: Client) -> tuple[Request, tuple[str, ...]]:
    """The request; one more kind needs an embedding of the model at hand."""
    if name != "generate from an embedding":
        return ASKED[name]
    [embedding] = client.embed(images=[SOURCE]).images
    return Generate("", embedding=embedding, **STEPS), ("encoder", "decoder", "upsampler")


def unary(client: Client, request: Request) -> list[GeneratedImage]:
    """The pictures of the method of its own that a request has."""
    options = {field.name: getattr(request, field.name) for field in fields(request)}
    made: list[GeneratedImage] = getattr(client, METHODS[type(request)])(**options)
    return made


@pytest.mark.parametrize("name", [*ASKED, "generate from an embedding"])
def test_every_step_of_every_stage_is_told_and_the_picture_is_that_of_the_unary_call(client: Client, name: str) -> None:
    asked, stages = asked_of(name, client)

    events = list(client.stream(asked, preview_interval=1))

    told = [event for event in events if isinstance(event, Progress) and event.step]
    assert set(dict.fromkeys(event.stage for event in told)) == set(stages)
    for stage in stages:
        for image in {event.image_index for event in told if event.stage == stage}:
            walked = [(e.step, e.of) for e in told if (e.stage, e.image_index) == (stage, image)]
            # Two pictures are inverted side by side, and told as work on image 0.
            walks = 2 if (name, stage) == ("interpolate to a picture", "invert") else 1
            every = [(step, walked[-1][1]) for step in range(1, walked[-1][1] + 1) for _ in range(walks)]
            assert (walked if walks == 1 else sorted(walked)) == every
    assert {event.to_pil().size for event in events if isinstance(event, Preview)} == {(BASE, BASE)}
    made = [event for event in events if isinstance(event, GeneratedImage)]
    assert isinstance(events[-1], GeneratedImage)
    for one, other in zip(made, unary(client, asked), strict=True):
        assert one.seed == other.seed
        assert apart(one, other) <= 1


CANCELS = [(name, stage) for name, (_, stages) in ASKED.items() for stage in stages if stage != "encoder"]


@pytest.mark.parametrize(("name", "stage"), [*CANCELS, ("generate from an embedding", "decoder")])
def test_a_cancelled_stream_leaves_no_sample_behind(
    bounded: Callable[[Bounds], Services], name: str, stage: str
) -> None:
    """Its client may have as many samples as it asks for, and none may wait: one not let go is missing afterwards."""
    samples = AT_ONCE.get(name, 1)
    slow: dict[str, Any] = {"decoder": Sampling(steps=40 if stage in ("decoder", "invert") else 1)}
    slow["upsampler"] = Sampling(steps=40 if stage == "upsampler" else 1)
    if stage == "prior":
        slow["prior"] = Sampling(steps=40)
    capacity = 1 if samples == 1 else 2 * samples  # of several, one client gets half
    with gateway_of(bounded(replace(NARROW, capacity=capacity))) as client:
        asked, _ = asked_of(name, client)
        with closing(client.stream(replace(asked, **slow))) as events:
            assert any(isinstance(event, Progress) and event.stage == stage and event.step for event in events)
        made = unary(client, asked)
        assert {(image.width, image.height) for image in made} == {(FINAL, FINAL)}

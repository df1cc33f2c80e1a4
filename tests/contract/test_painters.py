"""Families that paint many shapes by latents, through the gateway: a stub of one, and toys of the real ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest

from tests.contract.conftest import SHARED
from tests.contract.gateways import apart, gateway_of, noise_picture, pixels_of, png
from tests.contract.refusals import refusal
from tests.contract.requests import sound
from tests.contract.services import Bounds, Services
from tests.contract.toys import OWN, SIZES, TOYS, Toy
from unclip import Client, Generate, Sampling, read_recipe
from unclip.client.recipes import complete
from unclip.errors import PreconditionFailed

SHAPE: dict[str, Any] = {"width": 128, "height": 64}
QUICK: dict[str, Any] = {"decoder": Sampling(steps=2), "prior": Sampling(steps=1), "prior_candidates": 1, "seed": 1}
WALK: dict[str, Any] = {"decoder": Sampling(steps=2), "seed": 1}
SOURCE = png(noise_picture(60, 90))
FAMILIES = tuple(name for name, toy in TOYS.items() if toy.latents)


@pytest.fixture(scope="module")
def painter(services: Services) -> Iterator[Client]:
    with gateway_of(services) as client:
        yield client


def test_every_kind_of_picture_is_painted_at_the_size_that_is_asked_for_and_made_again(painter: Client) -> None:
    mask = png(np.arange(90) > np.full((60, 1), 40))
    made = [
        *painter.generate("a cat", negative_caption="a dog", **SHAPE, **QUICK),
        *painter.vary(SOURCE, fit="letterbox", **SHAPE, **WALK),
        *painter.text_diff(SOURCE, "a cat", "a dog", **SHAPE, **WALK),
        *painter.interpolate(SOURCE, png(noise_picture(40, 20)), **SHAPE, **WALK),
        *painter.edit(SOURCE, "a cat", mask, resampling=1, **SHAPE, **QUICK),
    ]
    assert {(image.width, image.height) for image in made} == {(128, 64)}
    [again] = painter.make(complete(read_recipe(made[-1].data), [SOURCE, mask]))
    assert again.data == made[-1].data


def test_no_pixel_outside_a_mask_changes(painter: Client) -> None:
    changed = 0
    for seed in range(6):
        width, height = ((128, 64), (64, 192))[seed % 2]
        pixels, chance = noise_picture(height, width, seed=seed), np.random.default_rng(seed)
        mask = chance.uniform(size=(height, width)) < 0.5
        options = {**QUICK, "seed": seed, "resampling": 1}
        [made] = painter.edit(png(pixels), "a cat", png(mask), width=width, height=height, **options)
        changed += int((pixels_of(made)[~mask] != pixels[~mask]).any(-1).sum())
    assert changed == 0


def test_pictures_of_several_sizes_at_once_are_those_that_each_is_alone(painter: Client) -> None:
    shapes: list[dict[str, Any]] = [{"width": 128, "height": 64}, {"width": 64, "height": 128}, {}]
    asked = [Generate("a cat", **shape, **{**QUICK, "seed": seed}) for seed, shape in enumerate(shapes)]
    alone = [painter.make(each)[0] for each in asked]
    with ThreadPoolExecutor(len(asked)) as threads:
        together = list(threads.map(lambda each: painter.make(each)[0], asked))
    assert [(each.width, each.height) for each in together] == [(128, 64), (64, 128), (OWN, OWN)]
    assert max(apart(one, other) for one, other in zip(alone, together, strict=True)) <= 1


def test_more_large_pictures_than_a_client_has_places_for_wait_for_each_other(
    bounded: Callable[[Bounds], Services],
) -> None:
    with gateway_of(bounded(Bounds(capacity=4, queue_limit=8))) as client:
        made = client.generate("a cat", width=128, height=128, image_count=4, **QUICK)
    assert [(image.width, image.height) for image in made] == [(128, 128)] * 4


def test_a_large_picture_takes_the_places_of_as_many_usual_ones(bounded: Callable[[Bounds], Services]) -> None:
    services = bounded(SHARED)
    request = sound(services, "decode")
    request.width, request.height, request.sampling.steps = 128, 128, 1000
    running = services.begin("decode", request, metadata=[("x-unclip-client", "large")])
    next(running)
    told = refusal(lambda: services.ask("decode", sound(services, "decode")))
    running.cancel()
    assert (told.code, told.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    assert "4 places are taken, limit 4" in told.message


@pytest.mark.parametrize(("width", "height"), [(100, 64), (32, 64), (192, 128), (256, 64)])
def test_what_the_family_does_not_paint_is_refused_with_what_it_does(painter: Client, width: int, height: int) -> None:
    with pytest.raises(PreconditionFailed, match=f"it paints {SIZES}"):
        painter.generate("a cat", width=width, height=height)


def test_the_model_tells_whether_it_reads_text_and_what_it_paints(painter: Client, toy: Toy) -> None:
    [told] = [stage for stage in painter.model_info().stages if stage.stage == "decoder"]
    assert (told.ignores_text, told.sizes, told.image_size) == (toy.model.ignores_text, SIZES, OWN)

"""The main job with four real processes: captions and pictures in, pictures out, the same again from a recipe."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.processes import Process
from tests.tiny import BASE, FINAL
from unclip import Client, Generate, LocalStack, Preview, Progress, Sampling, UnclipError
from unclip.client import Edit, GeneratedImage, TextDiff, Vary
from unclip.client.sheets import pad
from unclip.errors import InvalidRequest

SMALL = ("--base-size", "16", "--final-size", "32", "--step-seconds", "0")


@pytest.fixture
def client(stack: LocalStack) -> Iterator[Client]:
    with Client(stack.address) as client:
        yield client


def pixels(image: GeneratedImage) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    return np.asarray(image.to_pil()).astype(np.int16)


def test_four_processes_serve(stack: LocalStack) -> None:
    assert set(stack.pids) == {"encoder", "prior", "decoder", "gateway"}
    assert len({os.getpid(), *stack.pids.values()}) == 5


@pytest.mark.skipif(sys.platform != "linux" or torch.cuda.is_available(), reason="each starts by itself there")
def test_model_services_are_forked_from_a_process_with_one_thread_that_imported_for_them(stack: LocalStack) -> None:
    [parent] = {parent_of(stack.pids[role]) for role in ("encoder", "prior", "decoder")}
    assert "unclip.local.starter" in Path(f"/proc/{parent}/cmdline").read_text()
    assert len(list(Path(f"/proc/{parent}/task").iterdir())) == 1
    assert (parent_of(parent), parent_of(stack.pids["gateway"])) == (os.getpid(), os.getpid())


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_caption_becomes_pictures_at_final_size(client: Client) -> None:
    images = client.generate("a red apple", seed=7, image_count=3)
    assert [(image.image_index, image.seed) for image in images] == [(0, 7), (1, 8), (2, 9)]
    assert {image.to_pil().size for image in images} == {(FINAL, FINAL)}
    assert len({image.to_pil().tobytes() for image in images}) == 3


def test_a_recipe_makes_the_same_picture_alone(client: Client) -> None:
    last = client.generate("a red apple", seed=7, image_count=3, decoder=Sampling(guidance_scale=3.0))[2]
    [again] = [event for event in client.stream(last.recipe) if isinstance(event, GeneratedImage)]
    assert abs(pixels(again) - pixels(last)).max() <= 1


def test_the_same_seed_makes_the_same_picture_beside_other_work(client: Client) -> None:
    settings = Sampling(sampler="ddim", steps=9, guidance_scale=2.0, eta=0.5)
    [alone] = client.generate("a blue whale", seed=3, decoder=settings)
    others = [client.stream(Generate(f"caption {number}", seed=number, image_count=4)) for number in range(3)]
    for other in others:
        next(iter(other))
    [crowded] = client.generate("a blue whale", seed=3, decoder=settings)
    for other in others:
        other.close()
    assert abs(pixels(crowded) - pixels(alone)).max() <= 1


def test_a_stream_tells_every_stage_and_shows_previews(client: Client) -> None:
    events = list(client.stream(Generate("a red apple", seed=1), preview_interval=1))
    told = [event for event in events if isinstance(event, Progress)]
    assert list(dict.fromkeys(event.stage for event in told)) == ["encoder", "prior", "decoder", "upsampler"]
    assert {event.of for event in told if event.stage == "decoder"} == {5}
    assert {event.to_pil().size for event in events if isinstance(event, Preview)} == {(BASE, BASE)}
    assert isinstance(events[-1], GeneratedImage)


def test_variations_differ_by_their_seeds(client: Client) -> None:
    source = Image.effect_noise((40, 30), 60).convert("RGB")
    images = client.vary(source, seed=1, image_count=2, eta=1.0) + client.vary(source, seed=1, start="random")
    assert {image.to_pil().size for image in images} == {(FINAL, FINAL)}
    assert len({image.to_pil().tobytes() for image in images}) == 3


def test_a_text_diff_has_one_frame_per_theta_and_starts_at_the_reconstruction(client: Client) -> None:
    source = Image.new("RGB", (32, 32), "orange")
    frames = client.text_diff(source, "a dog", "a cat", thetas=[0.0, 0.2, 0.4], seed=5)
    thetas = [frame.recipe.thetas for frame in frames if isinstance(frame.recipe, TextDiff)]
    assert thetas == [pytest.approx((theta,)) for theta in (0.0, 0.2, 0.4)]
    [same] = client.text_diff(source, "a dog", "a dog", thetas=[0.4], seed=5)
    assert abs(pixels(same) - pixels(frames[0])).max() <= 1


def test_a_recipe_with_its_picture_put_back_makes_the_same_variation(client: Client) -> None:
    source = Image.new("RGB", (32, 32), "teal")
    [first] = client.vary(source, seed=11, eta=0.6)
    assert isinstance(first.recipe, Vary)
    recipe = dataclasses.replace(first.recipe, image=source)
    [again] = [event for event in client.stream(recipe) if isinstance(event, GeneratedImage)]
    assert abs(pixels(again) - pixels(first)).max() <= 1


def test_a_picture_continued_beyond_its_edges_is_still_there(client: Client) -> None:
    source = Image.effect_noise((FINAL - 12, FINAL - 20), 60).convert("RGB")
    canvas = pad(source, left=4, top=8, right=8, bottom=12)
    [made] = client.edit(canvas, "a red apple", seed=3, resampling=2)
    assert (pixels(made)[8:-12, 4:-8] == np.asarray(source)).all()
    assert isinstance(made.recipe, Edit)
    recipe = dataclasses.replace(made.recipe, image=canvas)
    [again] = [event for event in client.stream(recipe) if isinstance(event, GeneratedImage)]
    assert abs(pixels(again) - pixels(made)).max() <= 1


def test_embeddings_and_model_info(client: Client) -> None:
    found = client.embed(["a", ""], [Image.new("RGB", (8, 8))])
    assert (len(found.captions), len(found.images)) == (2, 1)
    info = client.model_info()
    assert {"generate", "vary", "text_diff", "edit", "embed"} <= set(info.capabilities)
    assert found.captions[0].clip_space == info.clip_space


def test_a_bad_request_is_told_whole_and_the_next_one_is_served(client: Client) -> None:
    with pytest.raises(InvalidRequest) as refused:
        client.generate("", image_count=99, decoder=Sampling(steps=0, guidance_scale=float("nan")))
    fields = {violation.field for violation in refused.value.violations}
    assert fields == {"caption", "image_count", "decoder.steps", "decoder.guidance_scale"}
    assert client.generate("a red apple")


def test_a_stage_that_dies_is_named(tmp_path: Path) -> None:
    with ExitStack() as exits:
        stages = {
            stage: exits.enter_context(Process("unclip.testing", ["--stages", stage, *SMALL], tmp_path, stage))
            for stage in ("encoder", "prior", "decoder", "upsampler")
        }
        targets = [word for stage, process in stages.items() for word in (f"--{stage}", process.address())]
        gateway = exits.enter_context(Process("gateway", targets, tmp_path))
        client = exits.enter_context(Client(gateway.address(), timeout=20))
        assert client.generate("a red apple", seed=1)
        stages["prior"].kill()
        with pytest.raises(UnclipError, match="prior"):
            client.generate("a red apple", seed=1)
        assert client.embed(["still here"]).captions

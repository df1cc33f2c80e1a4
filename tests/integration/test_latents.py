"""Decoders of latents behind the gateway, with real stages: what Kandinsky 2.2 and Stable unCLIP make of pictures."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from decoder_svc.latents import load
from tests.contract.conftest import serving
from tests.contract.gateways import apart, gateway_of, noise_picture, pixels_of, png
from tests.contract.services import Array, Bounds, Method, Services
from tests.kandinsky import make_tiny_kandinsky
from tests.stable_unclip import make_tiny_stable_unclip
from unclip import Client, Generate, Preview, Sampling
from unclip.api.decoder.v1 import decoder_pb2, upsampler_pb2
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.client import GeneratedImage
from unclip.errors import PreconditionFailed
from unclip.networks.placement import Placement
from unclip.wire import tensors
from unclip.wire.embeddings import Embedding
from unclip.wire.images import from_pixels, psnr, to_pixels

SIDE = 64
WIDE: dict[str, Any] = {"width": 320, "height": 256}
DDIM = Sampling("ddim", 25, 1.0)
QUICK: dict[str, Any] = {"prior": Sampling(steps=1), "decoder": Sampling(steps=2), "prior_candidates": 1}


@dataclass(frozen=True)
class Stack:
    """A family's stages, a client of a gateway in front of them, and where its decoder's weights lie."""

    services: Services
    client: Client
    repository: Path

    def reconstructed(self, picture: Image.Image) -> Image.Image:
        """What the autoencoder alone makes of it."""
        checkpoint = Checkpoint.open(self.repository)
        there, back = (
            load(half, checkpoint, Placement.choose(torch.device("cpu"), "float32"))
            for half in ("latent_encoder", "latent_decoder")
        )
        with torch.inference_mode():
            latents = there({"pixels": torch.from_numpy(to_pixels(picture))[None]})
            return from_pixels(back({"latents": latents})[0].clamp(-1, 1).numpy())


def benign(repository: Path) -> Path:
    """Has the U-Net say 1 / 200 of what it does: DDIM inversion is exact in the limit of small steps, and of random
    weights no number of steps is small enough. The movq's latents are halved, to lie in [-1, 1] where Kandinsky's
    sampler keeps them."""
    for component, layer, factor in (("unet", "conv_out", 0.005), ("movq", "quant_conv", 0.5)):
        for file in (repository / component).glob("*.safetensors"):
            weights = load_file(file)
            for name in (f"{layer}.weight", f"{layer}.bias"):
                weights[name] = weights[name] * factor
            save_file(weights, file, {"format": "pt"})
    return repository


@pytest.fixture(scope="module", params=["kandinsky", "stable unclip"])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("family")
    if request.param == "stable unclip":
        repository = make_tiny_stable_unclip(folder)[1]
    else:
        repository = make_tiny_kandinsky(folder)[2]
    with serving(Bounds(), benign(repository)) as services, gateway_of(services) as client:
        yield Stack(services, client, repository)


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    return Image.fromarray(noise_picture(SIDE // 8, SIDE // 8)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def decibels(one: Image.Image, other: Image.Image) -> float:
    return psnr(to_pixels(one), to_pixels(other))


def test_vary_without_eta_and_a_text_diff_at_theta_0_give_back_what_the_autoencoder_does(
    stack: Stack, picture: Image.Image
) -> None:
    own = stack.reconstructed(picture)
    [varied] = stack.client.vary(picture, eta=0.0, decoder=DDIM, seed=1, report_psnr=True)
    [start, moved] = stack.client.text_diff(picture, "a cat", "a dog", thetas=[0.0, 0.6], decoder=DDIM, seed=1)
    assert apart(varied, start) == 0
    assert apart(start, moved) > 0
    whole, alone = decibels(varied.to_pil(), picture), decibels(own, picture)
    told = varied.inversion_psnr
    print(f"{stack.repository.name}: alone {alone:.3f}, whole {whole:.3f}, latents {told:.1f} dB")
    assert whole == pytest.approx(alone, abs=0.05)
    # What 25 steps leave of latents is an error of a hundredth.
    assert decibels(varied.to_pil(), own) > 38
    assert told is not None
    assert told > 38


def test_frames_between_two_pictures_begin_and_end_at_what_the_autoencoder_gives_back(
    stack: Stack, picture: Image.Image
) -> None:
    other = picture.rotate(90)
    frames = stack.client.interpolate(picture, other, ts=[0.0, 0.5, 1.0], decoder=DDIM, seed=1)
    assert decibels(frames[0].to_pil(), stack.reconstructed(picture)) > 38
    assert decibels(frames[2].to_pil(), stack.reconstructed(other)) > 38
    assert apart(frames[1], frames[0]) > 0
    assert apart(frames[1], frames[2]) > 0


def test_pictures_of_another_size_are_given_back_too(stack: Stack, picture: Image.Image) -> None:
    wide = picture.resize((320, 256), Image.Resampling.BICUBIC)
    [varied] = stack.client.vary(wide, eta=0.0, decoder=Sampling("ddim", 8, 1.0), seed=1, **WIDE)
    assert varied.to_pil().size == wide.size
    assert decibels(varied.to_pil(), wide) == pytest.approx(decibels(stack.reconstructed(wide), wide), abs=0.2)


def masks(side: int) -> Iterator[Array]:
    """100 of bool ``[side, side]``, true where something is painted: single pixels, all but one, edges, the rest."""
    for row, column in ((0, 0), (side - 1, side - 1), (side // 2, 7), (3, side - 9)):
        one = np.zeros((side, side), np.bool_)
        one[row, column] = True
        yield from (one, ~one)
    for edge in range(4):
        one = np.zeros((side, side), np.bool_)
        one[0] = True
        yield np.rot90(one, edge)
        one[:9] = True
        yield ~np.rot90(one, edge)
    for seed in range(100 - 16):
        random = np.random.default_rng(seed)
        if seed % 3 == 0:
            yield random.uniform(size=(side, side)) < 0.1 + 0.8 * random.uniform()
            continue
        one = np.zeros((side, side), np.bool_)
        for top, left in random.integers(0, side - 2, (1 + seed % 4, 2)):
            one[top : top + random.integers(1, side), left : left + random.integers(1, side)] = True
        yield one


def test_no_pixel_outside_100_masks_changes(stack: Stack) -> None:
    def edit(numbered: tuple[int, Array]) -> tuple[int, int]:
        seed, mask = numbered
        pixels = noise_picture(SIDE, SIDE, seed=seed)
        [made] = stack.client.edit(png(pixels), "a cat", png(mask), seed=seed, **QUICK)
        changed = (pixels_of(made) != pixels).any(-1)
        return int(changed[~mask].sum()), int(changed[mask].sum())

    with ThreadPoolExecutor(8) as several:
        outside, inside = zip(*several.map(edit, enumerate(masks(SIDE))), strict=True)
    assert len(outside) == 100
    assert sum(outside) == 0
    assert sum(count > 0 for count in inside) > 95


@pytest.mark.parametrize("size", [{}, WIDE])
def test_no_pixel_outside_changes_of_a_picture_of_another_shape(stack: Stack, size: dict[str, Any]) -> None:
    """What is kept of a picture that is resized is what that comes to."""
    pixels, mask = noise_picture(100, 150, seed=3), np.zeros((100, 150), np.bool_)
    mask[20:70, 30:90] = True
    [made] = stack.client.edit(png(pixels), "a cat", png(mask), seed=1, **QUICK, **size)
    [other] = stack.client.edit(png(pixels), "a dog", png(mask), seed=2, **QUICK, **size)
    kept = (pixels_of(made) == pixels_of(other)).all(-1)
    assert 0.5 < kept.mean() < 0.95
    assert made.to_pil().size == ((320, 256) if size else (SIDE, SIDE))


def test_a_picture_is_the_same_alone_and_among_others_of_other_sizes_and_kinds(
    stack: Stack, picture: Image.Image
) -> None:
    few: dict[str, Any] = {"prior": Sampling(steps=2), "decoder": Sampling(steps=4)}
    inverted: dict[str, Any] = {"decoder": Sampling("ddim", 4)}
    mask = np.zeros((SIDE, SIDE), np.bool_)
    mask[10:40, 20:60] = True
    client = stack.client
    asks: list[Callable[[], list[GeneratedImage]]] = [
        lambda: client.generate("a red cat", seed=1, image_count=2, **few),
        lambda: client.generate("a blue dog", seed=5, **QUICK, **WIDE),
        lambda: client.vary(picture, seed=2, eta=0.0, **inverted),
        lambda: client.edit(picture, "a cat", png(mask), seed=4, **few),
        lambda: client.generate("a cat", seed=6, negative_caption="a dog", **few),
        lambda: client.text_diff(picture, "a cat", "a dog", thetas=[0.0, 0.3], seed=7, **inverted),
    ]
    alone = [ask() for ask in asks]
    with ThreadPoolExecutor(len(asks)) as several:
        crowd = [several.submit(ask) for ask in asks]
        found = [each.result() for each in crowd]
    for before, after in zip(alone, found, strict=True):
        assert [apart(one, other) for one, other in zip(before, after, strict=True)] == [0] * len(before)


def test_previews_have_a_pixel_for_each_latent(stack: Stack) -> None:
    events = list(stack.client.stream(Generate("a cat", seed=1, decoder=Sampling(steps=4), **WIDE), preview_interval=1))
    assert {event.to_pil().size for event in events if isinstance(event, Preview)} == {(40, 32)}


def test_sizes_that_it_cannot_are_refused_with_those_it_can(stack: Stack) -> None:
    for width, height in ((100, 256), (128, 128), (2048, 64), (1536, 1536)):
        with pytest.raises(PreconditionFailed, match=rf"cannot paint {width} x {height} px; it paints multiples of 64"):
            stack.client.generate("a cat", width=width, height=height, **QUICK)


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "width alone": ({"width": 320}, "height: must be set where width is"),
    "no size of its": ({"width": 100, "height": 256}, "width: and height must be multiples of 64 .*; got 100 x 256"),
    "start noise of another shape": ({"start_noise": (4, 8, 9)}, r"start_noise.shape: must be \[4, 8, 8\]; got"),
    "start noise of another size": (
        {"start_noise": (4, 8, 8), "width": 320, "height": 256},
        r"start_noise.shape: must be \[4, 32, 40\]; got \[4, 8, 8\]",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_with_a_decoding_is_told_with_its_limit_and_its_value(stack: Stack, name: str) -> None:
    given, message = BROKEN[name]
    if "start_noise" in given:
        given = {**given, "start_noise": tensors.to_proto(np.zeros(given["start_noise"], np.float32))}
    info = stack.services.decoder.GetModelInfo(decoder_pb2.GetModelInfoRequest()).model
    gist = Embedding(np.ones(info.embedding_dim, np.float32), info.clip_space).to_proto()
    request = decoder_pb2.DecodeRequest(
        embedding=gist, unconditional_embedding=gist, unconditional_text=stack.services.text(""), **given
    )
    assert re.search(message, refused(stack, "decode", request))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 8, 8), r"sample.shape: must be \[4, .*got \[3, 8, 8\]"),
        ((4, 8, 9), r"sample.shape: must be that of a picture of multiples of 64 .*; got \[4, 8, 9\]"),
        ((4, 200, 200), r"sample.shape: must be that of a picture of .*; got \[4, 200, 200\]"),
        ((4, 0, 8), "sample"),
        ((4, -8, -8), "sample"),
    ],
)
def test_latents_that_no_picture_has_are_refused(stack: Stack, shape: tuple[int, ...], message: str) -> None:
    sample = tensors.to_proto(np.zeros([max(0, side) for side in shape], np.float32))
    sample.shape[:] = shape
    assert re.search(message, refused(stack, "upsample", upsampler_pb2.UpsampleRequest(sample=sample)))


def refused(stack: Stack, method: Method, request: Any) -> str:
    """Why a stage refuses a request as invalid: one line."""
    with pytest.raises(grpc.RpcError) as caught:
        stack.services.ask(method, request)
    call: Any = caught.value
    assert call.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "\n" not in call.details()
    return str(call.details())


def test_without_prior_and_text_encoder_captions_and_masks_are_refused_with_what_it_can(tmp_path: Path) -> None:
    large, picture = make_tiny_stable_unclip(tmp_path)[0], Image.new("RGB", (SIDE, SIDE), "teal")
    with serving(Bounds(), large) as services, gateway_of(services) as client:
        assert client.model_info().capabilities == ("vary", "interpolate")
        able = "it can do vary, interpolate"
        with pytest.raises(PreconditionFailed, match=f"cannot do edit; {able}"):
            client.edit(picture, "a cat", png(np.eye(SIDE, dtype=np.bool_)))
        with pytest.raises(PreconditionFailed, match=f"cannot do generate; {able}"):
            client.generate("a cat")
        with pytest.raises(PreconditionFailed, match=f"cannot do text_diff; {able}"):
            client.text_diff(picture, "a cat", "a dog")
        with pytest.raises(PreconditionFailed, match="no CLIP text encoder: captions have no embeddings"):
            client.embed(["a cat"])
        assert len(client.embed([], [picture]).images) == 1
        [varied] = client.vary(picture, seed=1, decoder=Sampling(steps=2))
        assert varied.to_pil().size == (SIDE, SIDE)

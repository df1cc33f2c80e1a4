"""Karlo as it was published, served: by its name on the Hub out of the cache, and what either repository cannot do."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.karlo import LICENSE, make_tiny_karlo
from tests.tiny import FINAL
from tests.unit.test_hub import KARLO, keep
from unclip import Client, LocalStack, Sampling
from unclip.checkpoints.components import (
    DECODER_FOLDERS,
    IMAGE_FOLDERS,
    OPTIONAL_FOLDERS,
    PRIOR_FOLDERS,
    TEXT_FOLDERS,
    UPSAMPLER_FOLDERS,
)
from unclip.errors import PreconditionFailed

FEW = Sampling(steps=2)


@pytest.fixture(scope="module")
def karlo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_tiny_karlo(tmp_path_factory.mktemp("karlo"))


def test_by_its_name_it_draws_and_varies_with_the_image_encoder_of_its_other_half(
    karlo: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = (*TEXT_FOLDERS, *PRIOR_FOLDERS, *DECODER_FOLDERS, *UPSAMPLER_FOLDERS, *OPTIONAL_FOLDERS)
    keep(tmp_path, karlo[0], folders)
    keep(tmp_path, karlo[1], IMAGE_FOLDERS)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with LocalStack(Path(KARLO), threads=1) as stack, Client(stack.address) as client:
        info = client.model_info()
        assert (info.name, info.license) == (KARLO, LICENSE)
        assert {"generate", "vary", "text_diff", "embed"} <= set(info.capabilities)
        stages = {stage.stage: stage.defaults for stage in info.stages}
        told = {name: (stages[name].steps, stages[name].guidance_scale) for name in ("prior", "decoder", "upsampler")}
        assert told == {"prior": (25, 4.0), "decoder": (25, 8.0), "upsampler": (7, 1.0)}
        [drawn] = client.generate("a red cat", seed=1, prior=FEW, decoder=FEW, upsampler=FEW)
        [varied] = client.vary(drawn.to_pil(), seed=1, decoder=FEW, upsampler=FEW)
        assert drawn.to_pil().size == varied.to_pil().size == (FINAL, FINAL)


def test_the_repository_that_varies_varies_and_says_that_it_cannot_draw_captions(karlo: tuple[Path, Path]) -> None:
    with LocalStack(karlo[1], threads=1) as stack, Client(stack.address) as client:
        capabilities = set(client.model_info().capabilities)
        assert "vary" in capabilities
        assert "generate" not in capabilities
        picture = Image.effect_noise((40, 30), 60).convert("RGB")
        assert client.vary(picture, seed=1, decoder=FEW, upsampler=FEW)
        with pytest.raises(PreconditionFailed, match="cannot do generate"):
            client.generate("a red cat")
        with pytest.raises(PreconditionFailed, match="cannot do generate"):
            client.interpolate(picture, to_caption="a red cat", decoder=FEW, upsampler=FEW)


def test_the_repository_that_draws_says_that_it_cannot_vary_alone(karlo: tuple[Path, Path], tmp_path: Path) -> None:
    alone = karlo[0].rename(tmp_path / karlo[0].name)
    try:
        with LocalStack(alone, threads=1) as stack, Client(stack.address) as client:
            capabilities = set(client.model_info().capabilities)
            assert "generate" in capabilities
            assert not {"vary", "text_diff", "interpolate"} & capabilities
            assert client.generate("a red cat", prior=FEW, decoder=FEW, upsampler=FEW)
            with pytest.raises(PreconditionFailed, match="cannot do vary"):
                client.vary(Image.new("RGB", (8, 8)))
            with pytest.raises(PreconditionFailed, match="no image encoder"):
                client.embed([], [Image.new("RGB", (8, 8))])
            assert client.embed(["a red cat"]).captions
    finally:
        alone.rename(karlo[0])

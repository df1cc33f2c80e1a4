"""Beginning with earlier weights: what was learned is still known, also inside a larger network."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch.nn import functional

from training import decoder as decoder_stage
from training import networks
from training.all import run
from training.decoder_network import Decoder
from training.grow import grow_decoder, take_over, weights
from training.presets import PRESETS, Limits, Preset, Stage

SMALL = replace(PRESETS["smoke"], decoder_channels=(32, 32, 64), decoder_kernel=3, small=Stage(0, 4, 1e-3))
LARGE = replace(SMALL, decoder_channels=(32, 32, 32, 64), base_size=32, decoder_kernel=5)


def saved(decoder: Any, folder: Path, shard: str = "15MB") -> Path:
    decoder.unet.save_pretrained(folder / "decoder", max_shard_size=shard)
    decoder.projection.save_pretrained(folder / "text_proj")
    return folder


def grow(decoder: Any, folder: Path) -> None:
    grow_decoder(decoder, weights(folder, "text_proj"), weights(folder, "decoder"))


def seeded(preset: Any, seed: int) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Decoder(preset).eval()


def conditions(count: int = 2) -> tuple[torch.Tensor, ...]:
    drawn = torch.Generator().manual_seed(1)
    width, context = SMALL.width, SMALL.context
    return (
        torch.tensor([900, 100][:count]),
        torch.randn(count, width, generator=drawn),
        torch.randn(count, width, generator=drawn),
        torch.randn(count, context, width, generator=drawn),
        torch.ones(count, context, dtype=torch.bool),
    )


@torch.no_grad()
def test_a_decoder_of_the_same_shape_says_what_the_earlier_one_said(tmp_path: Path) -> None:
    earlier, later = seeded(SMALL, 0), seeded(SMALL, 1)
    x = torch.randn(2, 3, 16, 16)
    assert not torch.allclose(later(x, *conditions()), earlier(x, *conditions()))

    grow(later, saved(earlier, tmp_path))

    assert torch.equal(later(x, *conditions()), earlier(x, *conditions()))


@torch.no_grad()
def test_a_grown_decoder_says_of_noise_at_first_what_the_earlier_one_says_of_means_of_four_pixels(
    tmp_path: Path,
) -> None:
    earlier, later = seeded(SMALL, 0), seeded(LARGE, 1)
    grow(later, saved(earlier, tmp_path))
    noise = torch.randn(2, 3, 32, 32)

    expected = earlier(functional.avg_pool2d(noise, 2), *conditions())
    torch.testing.assert_close(later(noise, *conditions()), functional.interpolate(expected, scale_factor=2))


@torch.no_grad()
def test_all_that_a_grown_decoder_adds_can_learn(tmp_path: Path) -> None:
    later = seeded(LARGE, 1)
    grow(later, saved(seeded(SMALL, 0), tmp_path))
    with torch.enable_grad():
        later(torch.randn(2, 3, 32, 32), *conditions()).square().sum().backward()
    added = [*later.unet.down_blocks[0].resnets, *later.unet.up_blocks[-1].resnets]
    for weight in (later.unet.conv_in.weight, *(each.conv2.weight for each in added)):
        assert weight.grad.abs().mean() > 0


def test_a_network_that_cannot_hold_the_earlier_one_is_refused(tmp_path: Path) -> None:
    saved(seeded(SMALL, 0), tmp_path)

    with pytest.raises(RuntimeError, match="grow by one level"):
        grow(seeded(replace(LARGE, decoder_channels=(32, 64, 32, 64)), 0), tmp_path)
    with pytest.raises(RuntimeError, match=r"kernels of 5; these are of \(3, 3\)"):
        grow(seeded(replace(LARGE, decoder_kernel=3), 0), tmp_path)


def test_weights_in_shards_are_put_together(tmp_path: Path) -> None:
    decoder = seeded(SMALL, 0)
    saved(decoder, tmp_path, shard="200KB")

    index = json.loads((tmp_path / "decoder" / "diffusion_pytorch_model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 1
    found = weights(tmp_path, "decoder")
    assert found.keys() == decoder.unet.state_dict().keys()
    assert all(torch.equal(found[name], value) for name, value in decoder.unet.state_dict().items())


def test_half_precision_is_taken_over_as_single(tmp_path: Path) -> None:
    earlier, later = networks.upsampler(SMALL), networks.upsampler(SMALL)
    earlier.half().save_pretrained(tmp_path / "super_res_first")  # type: ignore[operator]

    take_over(later, tmp_path, "super_res_first")

    assert {value.dtype for value in later.state_dict().values()} == {torch.float32}
    assert torch.equal(later.state_dict()["conv_in.weight"], earlier.float().state_dict()["conv_in.weight"])


def test_a_decoder_grows_out_of_one_of_half_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = list[tuple[str, int]]()

    def learn(name: str, preset: Preset, stage: Stage, network: Decoder, *_: object, **__: object) -> None:
        unet: Any = network.unet
        sizes.append((name, unet.config.sample_size))
        if name == "small":
            torch.nn.init.constant_(unet.conv_out.bias, 7)

    monkeypatch.setattr(decoder_stage, "learn", learn)
    monkeypatch.chdir(tmp_path)
    unet: Any = decoder_stage.train(PRESETS["smoke"], *[cast(Any, None)] * 3).unet

    assert sizes == [("small", 8), ("decoder", 16)]
    assert (unet.conv_out.bias == 7).all()


def test_a_decoder_does_not_go_on_from_one_that_predicts_something_else(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    start = replace(SMALL, start=tiny_checkpoint)
    with pytest.raises(RuntimeError, match="its decoder predicts epsilon, not v"):
        decoder_stage.train(start, *[cast(Any, None)] * 3)
    monkeypatch.setattr("training.all.require_sound", lambda _: None)  # it has no data.json either
    with pytest.raises(RuntimeError, match="its decoder predicts epsilon, not v"):
        run(start, tmp_path / "next", Limits())
    assert not list(tmp_path.iterdir())  # nothing was trained before that was found

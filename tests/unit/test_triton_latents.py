"""Triton's models of decoders that walk latents: pictures of any shape, by Python's backend and by ONNX files."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from google.protobuf import json_format

from tests import kandinsky, stable_unclip
from tests.karlo import DIFFUSERS, write_component
from tests.tiny import stir
from tests.unit.test_triton_onnx import by_onnxruntime, signature_of
from tests.unit.triton_configs import config_of
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.checkpoints.sources import sources
from unclip.networks.interface import COMPONENTS, Network, NetworkName, Tensors
from unclip.networks.placement import Placement
from unclip.triton import backend, onnx
from unclip.triton.backend import networks_of
from unclip.triton.export import Options, export, write_model
from unclip.triton.remote import to_array

CPU = torch.device("cpu")
LATENT: tuple[NetworkName, ...] = ("decoder", "latent_encoder", "latent_decoder")
# Two blocks instead of four: exporting takes half a minute otherwise.
FLAT: Mapping[str, Mapping[str, Any]] = {
    "k/unet": {
        "block_out_channels": [32, 64],
        "down_block_types": ["ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"],
        "up_block_types": ["SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"],
    },
    "k/movq": {
        "block_out_channels": [32, 32],
        "down_block_types": ["DownEncoderBlock2D", "AttnDownEncoderBlock2D"],
        "up_block_types": ["AttnUpDecoderBlock2D", "UpDecoderBlock2D"],
    },
    "s/unet": {
        "block_out_channels": [32, 64],
        "attention_head_dim": [2, 4],
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    },
    "s/vae": {
        "block_out_channels": [32, 32],
        "down_block_types": ["DownEncoderBlock2D"] * 2,
        "up_block_types": ["UpDecoderBlock2D"] * 2,
    },
}
MODULES: Mapping[str, Any] = {"k": kandinsky, "s": stable_unclip}


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Kandinsky's inpainting decoder and the small Stable unCLIP, with what completes them beside them, flat."""
    folder = tmp_path_factory.mktemp("latents")
    *_, inpaint = kandinsky.make_tiny_kandinsky(folder)
    _, small, _ = stable_unclip.make_tiny_stable_unclip(folder)
    homes = {"k": inpaint, "s": small}
    sizes = {"k": (kandinsky.TOY, 9), "s": (stable_unclip.toy(32),)}
    for place, changes in FLAT.items():
        family, _, name = place.partition("/")
        config = {**MODULES[family].configs(*sizes[family])[name], **changes}
        network = MODULES[family].KINDS[name].from_config(config)
        stir(network)
        write_component(homes[family] / name, config, network.state_dict(), DIFFUSERS)
    return homes


@pytest.fixture(scope="module")
def models(homes: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Every network of them for Python's backend."""
    folder = tmp_path_factory.mktemp("models")
    for family, home in homes.items():
        export(str(home), folder / family, Options(threads=1))
    return {family: folder / family for family in homes}


def local(name: NetworkName, home: Path) -> tuple[Checkpoint, Network]:
    at = sources(Checkpoint.open(home))[COMPONENTS[name]]
    return at, networks_of(name).load(name, at, Placement.choose(CPU))


def sent(checkpoint: Checkpoint, name: NetworkName, rows: int, length: int) -> dict[str, torch.Tensor]:
    return onnx.trial(signature_of(name, checkpoint), rows, length, vocabulary=200, seed=rows)


def test_every_network_of_both_halves_is_exported(models: Mapping[str, Path]) -> None:
    clip = {"text_encoder", "image_encoder", "prior"}
    assert {path.name for path in models["k"].iterdir()} == {*clip, *LATENT}
    assert {path.name for path in models["s"].iterdir()} == {*clip, "decoder_text_encoder", *LATENT}


class Server:
    """What Triton gives its Python backend, and what it is given back."""

    class Tensor(SimpleNamespace):
        @classmethod
        def from_dlpack(cls, name: str, value: torch.Tensor) -> Server.Tensor:
            return cls(name=name, value=value)

        def to_dlpack(self) -> Any:
            return self.value.__dlpack__()

    class InferenceResponse(SimpleNamespace):
        pass

    @staticmethod
    def get_input_tensor_by_name(request: Mapping[str, Any], name: str) -> Server.Tensor:
        return Server.Tensor(name=name, value=request[name])

    @classmethod
    def run(cls, folder: Path, inputs: Tensors, checkpoint: Checkpoint, name: NetworkName) -> torch.Tensor:
        """A model's answer to one request."""
        config = json_format.MessageToJson(config_of(folder), preserving_proto_field_name=True)
        args = {"model_config": config, "model_instance_kind": "CPU", "model_repository": str(folder)}
        served = backend.Backend({**args, "model_version": "1"})
        ports = signature_of(name, checkpoint).inputs
        request = {port.name: torch.from_numpy(to_array(inputs[port.name], port)) for port in ports}
        [answer] = served.execute([request])
        found: torch.Tensor = answer.output_tensors[0].value
        return found


@pytest.mark.parametrize("family", ["k", "s"])
@pytest.mark.parametrize("name", [*LATENT, "decoder_text_encoder"])
def test_what_is_exported_for_pythons_backend_needs_nothing_else_and_is_the_network(
    homes: Mapping[str, Path],
    models: Mapping[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    family: str,
    name: NetworkName,
) -> None:
    if not (models[family] / name).exists():
        assert (family, name) == ("k", "decoder_text_encoder")
        return
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", Server)
    checkpoint, network = local(name, homes[family])
    for rows, length in ((1, 5), (2, 7)):  # and of other heights and widths
        inputs = sent(checkpoint, name, rows, length)
        with torch.inference_mode():
            wanted = network(inputs)
        assert torch.equal(Server.run(models[family] / name, inputs, checkpoint, name), wanted)


@pytest.mark.parametrize(("family", "name"), [("k", "decoder"), ("s", "latent_decoder")])
def test_an_onnx_file_is_the_network_for_pictures_of_several_shapes(
    homes: Mapping[str, Path], tmp_path: Path, family: str, name: NetworkName
) -> None:
    checkpoint, network = local(name, homes[family])
    write_model(name, checkpoint, tmp_path, Options("onnxruntime"))
    found = by_onnxruntime(name, checkpoint, tmp_path)
    shapes = set()
    for rows, length in ((1, 4), (3, 6)):
        inputs = sent(checkpoint, name, rows, length)
        with torch.inference_mode():
            wanted, given = network(inputs), found(inputs)
        shapes.add(wanted.shape)
        assert given.shape == wanted.shape
        assert (given - wanted).abs().max() <= 5e-5 * wanted.abs().max()
    assert len(shapes) == 2
    assert config_of(tmp_path / name).output[0].dims[1:] == [-1, -1]


def test_plans_reach_from_the_smallest_picture_to_the_largest_with_the_usual_between(
    homes: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx, "write", lambda name, checkpoint, signature, file, precision: 0.0)
    tool = tmp_path / "bin" / "trtexec"
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)

    def plan(family: str, name: str) -> list[str]:
        with os.popen(f"PATH={tool.parent}:$PATH {tmp_path / family / name / 'plan.sh'}") as out:
            return [line.partition("Shapes=")[2] for line in out.read().splitlines() if "Shapes=" in line]

    for family, home in homes.items():
        export(str(home), tmp_path / family, Options("tensorrt", max_batch=2, gpus=(0,)))
    # A flat toy's latents are half as wide as its pictures: 8 to 16 px, families allow 256 to 1536.
    assert plan("k", "decoder") == [
        f"sample:{rows}x4x{side}x{side},timestep:{rows}x1,known:{rows}x5x{side}x{side},embedding:{rows}x32"
        for rows, side in ((1, 8), (2, 8), (2, 768))
    ]
    assert plan("s", "decoder")[2] == "sample:2x4x768x768,timestep:2x1,context:2x16x24,addition:2x64"
    assert plan("k", "latent_encoder") == ["pixels:1x3x16x16", "pixels:2x3x16x16", "pixels:2x3x1536x1536"]
    assert plan("s", "latent_decoder") == ["latents:1x4x8x8", "latents:2x4x8x8", "latents:2x4x768x768"]
    assert plan("s", "decoder_text_encoder") == ["ids:1x16", "ids:2x16", "ids:2x16"]

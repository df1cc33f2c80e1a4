"""Weights go from files into networks: whole, in their final form, and without a second copy on the way."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from unclip.checkpoints.checkpoint import Checkpoint
from unclip.checkpoints.manifest import write_manifest
from unclip.errors import CheckpointError
from unclip.networks.loading import count_parameters, load_network, read_tensor, weight_files

CPU = torch.device("cpu")


class Small(nn.Module):
    """A convolution, a norm, a buffer that is stored and one that is not."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3)
        self.norm = nn.BatchNorm2d(width)
        self.register_buffer("steps", torch.arange(width), persistent=False)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Small:
        return cls(config["width"])


def write(folder: Path, network: nn.Module, width: int = 4) -> Checkpoint:
    part = folder / "part"
    part.mkdir()
    (part / "config.json").write_text(json.dumps({"width": width}))
    save_file(network.state_dict(), part / "model.safetensors")
    return Checkpoint.open(folder)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_tensor_arrives_in_its_format_and_layout(tmp_path: Path, dtype: torch.dtype) -> None:
    source = Small(4)
    loaded = load_network(Small, write(tmp_path, source), "part", CPU, dtype, torch.channels_last)
    for name, value in source.state_dict().items():
        found = loaded.state_dict()[name]
        assert found.dtype == (dtype if value.is_floating_point() else value.dtype)
        assert torch.equal(found, value.to(found.dtype))
    assert loaded.conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert loaded.steps.tolist() == [0, 1, 2, 3]
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_shards_are_one_component_and_variants_none_of_it(tmp_path: Path) -> None:
    source = Small(4)
    checkpoint = write(tmp_path, source)
    part = tmp_path / "part"
    weights = load_file(part / "model.safetensors")
    (part / "model.safetensors").unlink()
    names = sorted(weights)
    save_file({name: weights[name] for name in names[:2]}, part / "model-00001-of-00002.safetensors")
    save_file({name: weights[name] for name in names[2:]}, part / "model-00002-of-00002.safetensors")
    save_file({"another": torch.zeros(1)}, part / "model.fp16.safetensors")
    shards = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    assert [path.name for path in weight_files(checkpoint, "part")] == shards
    loaded = load_network(Small, checkpoint, "part", CPU, torch.float32)
    assert torch.equal(loaded.conv.weight, source.conv.weight)
    assert count_parameters(checkpoint, "part") == sum(value.numel() for value in source.state_dict().values())
    assert read_tensor(checkpoint, "part", "conv.bias").tolist() == weights["conv.bias"].tolist()


def test_only_weights_whose_digests_were_checked_are_loaded(tmp_path: Path) -> None:
    """Also where a file that would be preferred comes after the check."""
    listed = write(tmp_path, Small(4)).folder / "part" / "model.safetensors"
    listed.rename(listed.with_name("diffusion_pytorch_model.safetensors"))
    write_manifest(tmp_path, clip_space="none")
    checkpoint = Checkpoint.open(tmp_path)
    checkpoint.verify(["part"])
    save_file({"another": torch.zeros(1)}, listed)
    assert [path.name for path in weight_files(checkpoint, "part")] == ["diffusion_pytorch_model.safetensors"]
    assert "conv.bias" in load_network(Small, checkpoint, "part", CPU, torch.float32).state_dict()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("conv.bias"), r"model\.safetensors lacks conv\.bias"),
        (lambda weights: weights.update(more=torch.zeros(1)), "has more, which the network of config.json has not"),
        (lambda weights: weights.update({"conv.bias": torch.zeros(9)}), r"conv\.bias is \[9\], by config\.json \[4\]"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, change: Any, message: str) -> None:
    checkpoint = write(tmp_path, Small(4))
    file = tmp_path / "part" / "model.safetensors"
    weights = load_file(file)
    change(weights)
    save_file(weights, file)
    with pytest.raises(CheckpointError, match=f"part does not load: .*{message}"):
        load_network(Small, checkpoint, "part", CPU, torch.float32)


def test_position_ids_of_old_files_are_passed_over(tmp_path: Path) -> None:
    checkpoint = write(tmp_path, Small(4))
    file = tmp_path / "part" / "model.safetensors"
    save_file({**load_file(file), "embeddings.position_ids": torch.arange(7)[None]}, file)
    before = count_parameters(checkpoint, "part")
    load_network(Small, checkpoint, "part", CPU, torch.float32)
    assert before == sum(value.numel() for value in Small(4).state_dict().values())


@pytest.mark.parametrize("content", [b"", b"no safetensors", b"\xff" * 64])
def test_a_file_that_is_none_is_named(tmp_path: Path, content: bytes) -> None:
    checkpoint = write(tmp_path, Small(4))
    (tmp_path / "part" / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=re.escape("part does not load")):
        load_network(Small, checkpoint, "part", CPU, torch.float32)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's figures of memory")
@pytest.mark.parametrize("stored", ["float16", "float32"])
def test_loading_takes_no_more_memory_than_the_weights(tmp_path: Path, stored: str) -> None:
    """In a process of its own: the peak while loading, over the weights, which change format or layout on the way."""
    program = """
        import json, sys
        from pathlib import Path

        import torch
        from safetensors.torch import save_file
        from torch import nn

        from unclip.checkpoints.checkpoint import Checkpoint
        from unclip.checkpoints.manifest import write_manifest
        from unclip.networks.loading import load_network

        class Large(nn.Sequential):
            @classmethod
            def from_config(cls, config):
                return cls(*(nn.Conv2d(256, 256, 3) for _ in range(48)))

        def resident(figure):
            lines = Path("/proc/self/status").read_text().splitlines()
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(figure))

        folder, dtype = Path(sys.argv[1]), getattr(torch, sys.argv[2])
        if sys.argv[3] == "write":
            (folder / "part").mkdir()
            (folder / "part" / "config.json").write_text("{}")
            weights = Large.from_config({}).to(dtype).state_dict()
            save_file(weights, folder / "part" / "model.safetensors")
        else:
            checkpoint = Checkpoint.open(folder)
            load = lambda: load_network(
                Large, checkpoint, "part", torch.device("cpu"), torch.float32, torch.channels_last
            )
            before = resident("VmRSS")
            Path("/proc/self/clear_refs").write_text("5")
            network = load()
            weights = sum(p.numel() * 4 for p in network.parameters())
            print((resident("VmHWM") - before) / weights)
    """
    out = ""
    for step in ("write", "load"):
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program), str(tmp_path), stored, step],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        out = done.stdout
    assert 0.95 < float(out) <= 1.15

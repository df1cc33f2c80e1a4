"""From safetensors files into a network: each tensor is mapped, and copied once, into its place on the device.

A network is first built without memory for its weights. Peak memory is then the weights as they run, in their number
format and layout, and one tensor more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from safetensors import SafetensorError, safe_open
from torch import nn

from unclip.checkpoints.checkpoint import Checkpoint, loading
from unclip.errors import CheckpointError

STEMS = ("model", "diffusion_pytorch_model")  # of the files that transformers and diffusers write
FORGOTTEN = (".position_ids",)  # buffers that old files hold and networks now make themselves


def weight_files(checkpoint: Checkpoint, folder: str) -> list[Path]:
    """The safetensors files of a component, of those that `Checkpoint.verify` checks: one, or shards.

    Variants beside them, such as fp16, are not among them.

    Raises:
        CheckpointError: there is none.
    """
    place = checkpoint.place(folder)
    files = [file for file in checkpoint.files(folder) if file.parent == place]
    for stem in STEMS:
        if (whole := place / f"{stem}.safetensors") in files:
            return [whole]
        if shards := [file for file in files if file.match(f"{stem}-?????-of-?????.safetensors")]:
            return shards
    raise CheckpointError(f"checkpoint: {folder} does not load: {place} has no {STEMS[0]}.safetensors")


@contextmanager
def opened(file: Path) -> Iterator[Any]:
    """A safetensors file, mapped. Raises CheckpointError when it is none."""
    try:
        with safe_open(file, framework="pt") as mapped:
            yield mapped
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"checkpoint: {file.parent.name} does not load: {file.name}: {error}") from error


def tensor_files(files: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Every tensor's name, and its file."""
    for file in files:
        with opened(file) as mapped:
            names = list(mapped.keys())
        yield from ((name, file) for name in names)


def read_tensor(checkpoint: Checkpoint, folder: str, name: str) -> torch.Tensor:
    """One tensor of a component, float32 on the CPU.

    Raises:
        CheckpointError: there is no such tensor.
    """
    for found, file in tensor_files(weight_files(checkpoint, folder)):
        if found == name:
            with opened(file) as mapped:
                value: torch.Tensor = mapped.get_tensor(name)
            return torch.empty_like(value, dtype=torch.float32).copy_(value)
    raise CheckpointError(f"checkpoint: {folder} does not load: it has no {name}")


def count_parameters(checkpoint: Checkpoint, folder: str, parts: Collection[str] = ()) -> int:
    """How many numbers a component's files hold, or these modules of it; their heads are read, the weights are not."""
    total = 0
    for file in weight_files(checkpoint, folder):
        with opened(file) as mapped:
            names = [name for name in mapped.keys() if not name.endswith(FORGOTTEN)]  # noqa: SIM118, no mapping
            names = [name for name in names if not parts or name.partition(".")[0] in parts]
            total += sum(torch.Size(mapped.get_slice(name).get_shape()).numel() for name in names)
    return total


def load_network(
    kind: Any,
    checkpoint: Checkpoint,
    folder: str,
    device: torch.device,
    dtype: torch.dtype,
    layout: torch.memory_format = torch.contiguous_format,
    parts: Collection[str] = (),
) -> Any:
    """A component of transformers' or diffusers' class ``kind``, for inference.

    layout: of weights with four dimensions. parts: of its modules those that are needed, none for all; the others, and
    their weights, are left out.

    Raises:
        CheckpointError: config or weights are missing or do not fit.
    """
    config = checkpoint.config(folder, "config.json")
    with loading(folder):
        with init_empty_weights(include_buffers=False):
            network: nn.Module = (
                kind(kind.config_class.from_dict(config)) if hasattr(kind, "config_class") else kind.from_config(config)
            )
        for name in [name for name, _ in network.named_children() if parts and name not in parts]:
            setattr(network, name, None)
        load_weights(network, weight_files(checkpoint, folder), device, dtype, layout, parts)
        return network.eval().to(device)  # of buffers; the weights are there


@torch.no_grad()
def load_weights(
    network: nn.Module,
    files: Sequence[Path],
    device: torch.device,
    dtype: torch.dtype,
    layout: torch.memory_format = torch.contiguous_format,
    parts: Collection[str] = (),
) -> None:
    """Gives ``network`` the weights in ``files``, where there are ``parts`` those of these modules.

    Raises:
        ValueError: they are not the network's, by name or shape.
    """
    expected = network.state_dict()
    missing = set(expected)
    for name, file in tensor_files(files):
        if name not in expected:
            if name.endswith(FORGOTTEN) or (parts and name.partition(".")[0] not in parts):
                continue
            raise ValueError(f"{file.name} has {name}, which the network of config.json has not")
        # Opened anew for each tensor: pages stay in memory until their mapping is gone.
        with opened(file) as mapped:
            value: torch.Tensor = mapped.get_tensor(name)
            if value.shape != expected[name].shape:
                raise ValueError(f"{name} is {list(value.shape)}, by config.json {list(expected[name].shape)}")
            assign(network, name, placed(value, device, dtype, layout))
            del value
        missing.discard(name)
    if missing:
        raise ValueError(f"{', '.join(file.name for file in files)} lacks {', '.join(sorted(missing)[:3])}")


def placed(value: torch.Tensor, device: torch.device, dtype: torch.dtype, layout: torch.memory_format) -> torch.Tensor:
    """A copy of ``value`` where and as it will be used."""
    form = layout if value.dim() == 4 else torch.contiguous_format
    kind = dtype if value.is_floating_point() else value.dtype
    return torch.empty_like(value, dtype=kind, device=device, memory_format=form).copy_(value)


def assign(network: nn.Module, name: str, value: torch.Tensor) -> None:
    """Makes ``value`` the parameter or buffer called ``name``."""
    owner, _, leaf = name.rpartition(".")
    module = network.get_submodule(owner)
    setattr(module, leaf, nn.Parameter(value, requires_grad=False) if leaf in module._parameters else value)

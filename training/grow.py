"""Beginning with an earlier checkpoint's weights: the same networks go on learning, smaller ones grow.

CLIP is taken over and, unless it shall learn too, left alone, so that embeddings keep their meaning. A decoder with one
level more than the earlier one keeps all of the old U-Net as its inner part; the new outer level starts as plain
averaging and copying, so that of any picture, noise too, the grown one says at first what the earlier one says of the
picture at half its size.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from training.decoder_network import Decoder

Weights = Mapping[str, torch.Tensor]


def weights(folder: Path, component: str) -> Weights:
    """A component's weights in float32, all shards together; none where it has no such component.

    Raises:
        RuntimeError: some of them are no numbers, or a file does not load.
    """
    found = dict[str, torch.Tensor]()
    for file in sorted((folder / component).glob("*.safetensors")):
        try:
            found |= load_file(file)
        except SafetensorError as error:
            raise RuntimeError(f"{file} does not load: {error}") from error
    if bad := sorted(name for name, value in found.items() if not value.isfinite().all()):
        raise RuntimeError(f"{folder}: its {component} has weights that are not finite: {', '.join(bad)}")
    return {name: value.float() if value.is_floating_point() else value for name, value in found.items()}


def take_over(network: nn.Module, folder: Path, component: str) -> None:
    """Loads a component's weights into a network of the same shape.

    Raises:
        RuntimeError: the shapes differ.
    """
    fill(network, weights(folder, component), f"{folder}: its {component}")


def fill(network: nn.Module, found: Weights, what: str) -> None:
    """Loads weights. Raises RuntimeError, which names ``what`` they are: the shapes differ."""
    try:
        network.load_state_dict(found)
    except RuntimeError as error:
        raise RuntimeError(f"{what} has another shape than the preset's") from error


def grow_decoder(decoder: Decoder, projection: Weights, old: Weights) -> None:
    """Takes over a projection, and a U-Net or builds this one around it where it has one level less.

    Raises:
        RuntimeError: the earlier U-Net is neither of the same shape nor the inner part of this one.
    """
    fill(decoder.projection, projection, "the earlier decoder's text_proj")
    unet: Any = decoder.unet
    deeper = len(unet.config.block_out_channels) - 1 - max(_number(name) for name in old if name[:4] == "down")
    if deeper == 0:
        fill(unet, old, "the earlier decoder")
        return
    if deeper != 1 or unet.config.block_out_channels[0] != unet.config.block_out_channels[1]:
        raise RuntimeError("a decoder can grow by one level, as wide as the one inside it")
    outermost = ("conv_in.weight", "conv_out.weight")
    (side,) = {2 * old[name].shape[-1] - 1 for name in outermost}
    if (given := (unet.config.conv_in_kernel, unet.config.conv_out_kernel)) != (side, side):
        raise RuntimeError(f"what grows by one level needs first and last kernels of {side}; these are of {given}")
    inner = {_moved(name): _spread(value) if name in outermost else value for name, value in old.items()}
    left = unet.load_state_dict(inner, strict=False)
    if left.unexpected_keys:
        raise RuntimeError(f"the earlier U-Net has what this one lacks: {left.unexpected_keys}")
    with torch.no_grad():
        down, up = unet.down_blocks[0], unet.up_blocks[-1]
        for resnet in (*down.resnets, *down.downsamplers, *unet.up_blocks[-2].upsamplers, *up.resnets):
            nn.init.zeros_(resnet.conv2.weight)
            nn.init.zeros_(resnet.conv2.bias)
            if resnet.conv_shortcut is not None:  # what comes from inside and what comes past it, side by side
                width = resnet.conv_shortcut.weight.shape[0]
                nn.init.zeros_(resnet.conv_shortcut.bias)
                nn.init.zeros_(resnet.conv_shortcut.weight)[:, :width, 0, 0] += torch.eye(width)


def _spread(kernel: torch.Tensor) -> torch.Tensor:
    """A kernel ``[..., 2k - 1, 2k - 1]`` that says of pixels, averaged by fours before or after, what one of
    ``[..., k, k]`` says of the averages: its numbers, with zeros between them."""
    side = 2 * kernel.shape[-1] - 1
    wide = kernel.new_zeros(*kernel.shape[:-2], side, side)
    wide[..., ::2, ::2] = kernel
    return wide


def _number(name: str) -> int:
    return int(name.split(".")[1])


def _moved(name: str) -> str:
    """Where a parameter of the inner U-Net lies in the one around it: each way down, one level deeper."""
    if not name.startswith("down_blocks."):
        return name
    head, number, rest = name.split(".", 2)
    return f"{head}.{int(number) + 1}.{rest}"

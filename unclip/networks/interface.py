"""A network behind a tick, whoever runs it: what goes in, what comes out, and the function between."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

import torch

Tensors = Mapping[str, torch.Tensor]
Network = Callable[[Tensors], torch.Tensor]
"""From named tensors, batch first ("sample", "timestep" int64 ``[B]``, and conditions), to the network's output."""

NetworkName = Literal[
    "text_encoder",
    "decoder_text_encoder",
    "image_encoder",
    "prior",
    "decoder",
    "decoder_student",
    "latent_encoder",
    "upsampler",
    "upsampler_last",
    "latent_decoder",
]
NETWORKS: tuple[NetworkName, ...] = get_args(NetworkName)
COMPONENTS: Mapping[NetworkName, str] = {
    "text_encoder": "text_encoder",
    "decoder_text_encoder": "decoder_text_encoder",
    "image_encoder": "image_encoder",
    "prior": "prior",
    "decoder": "decoder",
    "decoder_student": "decoder_student",
    "latent_encoder": "autoencoder",
    "upsampler": "super_res_first",
    "upsampler_last": "super_res_last",
    "latent_decoder": "autoencoder",
}
"""Whose weights a network runs."""

Format = Literal["FP32", "INT64", "BOOL"]


@dataclass(frozen=True)
class Port:
    """A named tensor of a network. shape: of one row, without batch; -1 where rows of a batch agree on any length.

    trial: the length that a trial run gives such an axis. pixels: of the picture, to each step along such an axis where
    two of them are its height and width, which are then multiples of ``trial``; 0 where it is a length.
    """

    name: str
    format: Format
    shape: tuple[int, ...] = ()
    trial: int = 8
    pixels: int = 0


@dataclass(frozen=True)
class Signature:
    """Inputs and output of a network, batch first."""

    inputs: tuple[Port, ...]
    output: Port


Remotes = Mapping[NetworkName, Network]
"""Networks that others run; the rest is loaded here."""

LOCAL: Remotes = MappingProxyType({})


def running_on(device: object, remotes: Remotes, names: Iterable[NetworkName]) -> str:
    """Where these networks run: the device, "triton", or both."""
    return ", ".join(dict.fromkeys("triton" if name in remotes else str(device) for name in names))

"""Layers that make the same numbers of a picture, bit for bit, in whatever batch it is.

A sum of floats depends on its order, and on a CPU torch chooses the order by what shares a pass:

- `linear` is another product in MKL for one row than for eight, and splits its sums by rows and threads;
- `conv2d` leaves one small picture to im2col and MKL, and two to oneDNN;
- `group_norm` of channels-last maps of 1024 pixels and more divides its sums where threads divide the whole batch;
- `gelu` is oneDNN's of a gate that is contiguous, as one picture's single token's is, and torch's own of others.

A trajectory magnifies the last bits, above all one that leads from a picture to x_T and back. So here a linear layer,
a gate and a large map's norm take one picture at a time, and every convolution is oneDNN's, which sums each output in
one order however many pictures and threads there are; its weights are laid out for it once, which saves what the rest
costs.
Norms of maps up to `MAGNIFIED` pixels, a decoder's, are sums that do not depend on threads either.

All else in the networks works on rows, or elements, by themselves. (SiLU differs by a bit between the vectors of 32
that a thread takes and what remains of its share; with 1, 2, 4, ... threads nothing remains of maps of usual sizes.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers.models.activations import GEGLU
from torch import nn

NATIVE_BELOW = 1024  # pixels: smaller maps, torch sums group by group
MAGNIFIED = 64 * 64  # pixels of the largest maps of a decoder, whose trajectories go there and back


def steady(network: Any) -> Any:
    """``network``, for inference in float32 on a CPU, with the layers of this module in the place of torch's.

    A convolution's weight is gone once it has run: a copy that only oneDNN can read has taken its place. Where torch
    was built without oneDNN, convolutions stay torch's own.
    """
    for module in network.modules():
        kind = KINDS.get(type(module))
        if kind is SteadyConv2d and not (torch.backends.mkldnn.is_available() and module.padding_mode == "zeros"):  # type: ignore[no-untyped-call]
            continue
        if kind is not None:
            module.__class__ = kind
    return network


def per_sample(layer: Callable[[torch.Tensor], torch.Tensor], batch: torch.Tensor) -> torch.Tensor:
    """What ``layer`` makes of each sample of ``batch``, ``[B, ...]``, alone."""
    return layer(batch) if len(batch) == 1 else torch.cat([layer(sample) for sample in torch.split(batch, 1)])


class SteadyLinear(nn.Linear):
    """A linear layer of one picture at a time."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """``[B, ..., in]`` to ``[B, ..., out]``."""
        return per_sample(super().forward, input)


class SteadyGEGLU(GEGLU):  # type: ignore[misc]
    """A gated GELU of one picture at a time."""

    def forward(self, hidden_states: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        """``[B, ..., in]`` to ``[B, ..., out]``."""
        return per_sample(super().forward, hidden_states)


class SteadyConv2d(nn.Conv2d):
    """A convolution by oneDNN, also where torch would compute it otherwise."""

    _laid_out: torch.Tensor | None = None

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """``[B, in, H, W]`` to ``[B, out, H', W']``, channels last."""
        how = (self.padding, self.stride, self.dilation, self.groups)
        if self._laid_out is None:
            shape = [1, *input.shape[1:]]
            self._laid_out = torch.ops.mkldnn._reorder_convolution_weight(self.weight, *how, shape)
            self.weight = nn.Parameter(self.weight.new_empty(0), requires_grad=False)  # not twice in memory
        x = input.contiguous(memory_format=torch.channels_last)
        out: torch.Tensor = torch.ops.mkldnn._convolution_pointwise(x, self._laid_out, self.bias, *how, "none", [], "")
        return out


class SteadyGroupNorm(nn.GroupNorm):
    """Group normalisation of one picture at a time, where torch would not do so itself."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """``[B, C, ...]``, normalised."""
        pixels = input.shape[2:].numel()
        if input.dim() != 4 or pixels < NATIVE_BELOW:
            return super().forward(input)
        if pixels > MAGNIFIED:
            return super().forward(input) if torch.get_num_threads() == 1 else per_sample(super().forward, input)
        return self._summed(input.contiguous(memory_format=torch.channels_last))

    def _summed(self, x: torch.Tensor) -> torch.Tensor:
        """The same from sums over each channel's pixels, which torch takes in one order; added up in float64."""
        batch, channels = x.shape[:2]
        groups, each = self.num_groups, channels // self.num_groups
        pixels = x.permute(0, 2, 3, 1).flatten(1, 2)
        sums = torch.stack([pixels.sum(1), (pixels * pixels).sum(1)]).view(2, batch, groups, each)
        mean, square = sums.sum(-1, keepdim=True, dtype=torch.float64) / (each * pixels.shape[1])
        scale = torch.rsqrt(square - mean * mean + self.eps).expand(-1, -1, each)
        shift = -mean * scale
        if self.affine:
            weight, bias = self.weight.view(groups, each), self.bias.view(groups, each)
            scale, shift = scale * weight, shift * weight + bias
        scale, shift = (part.reshape(batch, channels, 1, 1).float() for part in (scale, shift))
        return torch.addcmul(shift, x, scale)


KINDS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: SteadyLinear,
    nn.Conv2d: SteadyConv2d,
    nn.GroupNorm: SteadyGroupNorm,
    GEGLU: SteadyGEGLU,
}

"""Pictures of one seed are equal, bit for bit, in whatever batch: layer by layer, and of the embedded checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
import torch
from diffusers.models.activations import GEGLU
from torch import nn

from tests.bench import equality
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.local.stack import find_checkpoint
from unclip.networks.steady import SteadyConv2d, steady

LAYERS: dict[
    str, tuple[Callable[[], nn.Module], tuple[int, ...]]
] = {  # each with a map, [C, H, W], or rows for which torch's own layer sums otherwise in a batch or with threads
    "time embedding": (lambda: nn.Linear(256, 192), (256,)),
    "tokens": (lambda: nn.Linear(192, 768), (24, 192)),
    "gate of a token": (lambda: GEGLU(64, 256), (1, 64)),
    "small picture": (lambda: nn.Conv2d(128, 64, 3, padding=1), (128, 4, 4)),
    "strided": (lambda: nn.Conv2d(16, 32, 3, stride=2, padding=1), (16, 8, 8)),
    "pixel by pixel": (lambda: nn.Conv2d(64, 32, 1), (64, 8, 8)),
    "small map": (lambda: nn.GroupNorm(32, 64), (64, 8, 8)),
    "decoder's map": (lambda: nn.GroupNorm(32, 64), (64, 32, 32)),
    "without weights": (lambda: nn.GroupNorm(4, 16, affine=False), (16, 64, 64)),
    "large map": (lambda: nn.GroupNorm(8, 32), (32, 96, 96)),
}
BY_THREADS = {"large map"}  # which the number of threads may change
SIZES = (2, 3, 5, 8, 16)


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def pictures(shape: Sequence[int], count: int) -> torch.Tensor:
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((count, *shape), dtype=np.float32)) * 3 + 1
    return x.to(memory_format=torch.channels_last) if x.dim() == 4 else x


@pytest.mark.parametrize("name", LAYERS)
@torch.inference_mode()
def test_a_steady_layer_makes_the_same_of_a_picture_in_every_batch(name: str) -> None:
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    own, x = make(), pictures(shape, max(SIZES))
    expected = own(x)
    layer = steady(nn.Sequential(own))
    torch.set_num_threads(1)
    first = torch.cat([layer(row) for row in torch.split(x, 1)])
    torch.testing.assert_close(first, expected, rtol=1e-4, atol=1e-4)
    for count in (1, 2):
        torch.set_num_threads(count)
        alone = torch.cat([layer(row) for row in torch.split(x, 1)])
        assert name in BY_THREADS or torch.equal(alone, first)
        for size in SIZES:
            assert torch.equal(layer(x[-size:]), alone[-size:])


@torch.inference_mode()
def test_a_convolution_that_has_run_holds_its_weights_once() -> None:
    layer = steady(nn.Sequential(nn.Conv2d(8, 8, 3)))
    layer(torch.zeros(1, 8, 4, 4))
    assert isinstance(layer[0], SteadyConv2d)
    assert layer[0].weight.numel() == 0


def test_a_convolution_with_other_padding_than_zeros_stays_as_it_is() -> None:
    assert type(steady(nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect")))[0]) is nn.Conv2d


def test_every_capability_makes_the_same_pictures_alone_and_in_mixed_company() -> None:
    """Two requests of each on the embedded checkpoint, inversions among them, all at once in full batches."""
    stages, numbers = equality.LocalStages.of(Checkpoint.open(find_checkpoint())), range(10)
    single = equality.alone(numbers, stages)
    mixed = equality.together(numbers, stages, threads=1, order=1)
    assert max(stages.observers["decoder"].sizes) == stages.max_batch
    for number in numbers:
        for one, other in zip(single[number], mixed[number], strict=True):
            assert np.array_equal(one, other), equality.CAPABILITIES[number % 5]

"""A network's format and batch buckets change its speed and, within bounds, nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from decoder_svc.decoder import Decoder
from decoder_svc.upsampler import Upsampler
from prior_svc.prior import Prior
from tests.tiny import BASE, CONTEXT, WIDTH
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.engine.job import Program
from unclip.engine.trajectory import Trajectory
from unclip.errors import ConfigurationError
from unclip.networks.graphs import CAPTURE_AFTER, MAX_GRAPHS, CapturedNetwork, bucket, padded
from unclip.networks.offload import Offloader, offloader_of
from unclip.networks.placement import Placement
from unclip.options import SamplingSettings
from unclip.wire.embeddings import Embedding, TextEncoding
from unclip.wire.tasks import DecodeTask, SampleTask, UpsampleTask

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@given(st.integers(1, 1000))
def test_a_bucket_is_the_smallest_power_of_two_that_holds_the_rows(rows: int) -> None:
    size = bucket(rows)
    assert rows <= size < 2 * rows
    assert size & (size - 1) == 0


def test_padding_repeats_the_last_row_and_leaves_the_others() -> None:
    inputs = {"sample": torch.arange(6.0).reshape(3, 2), "timestep": torch.tensor([7, 8, 9])}
    full = padded(inputs, 4)
    assert full["timestep"].tolist() == [7, 8, 9, 9]
    assert torch.equal(full["sample"][:3], inputs["sample"])
    assert torch.equal(full["sample"][3], inputs["sample"][2])
    assert padded(inputs, 3)["sample"] is inputs["sample"]


def test_auto_is_bfloat16_with_graphs_on_a_gpu_and_plain_float32_elsewhere() -> None:
    assert Placement.choose(CPU) == Placement(CPU, torch.float32, capture=False, steady=True)
    assert Placement.choose(GPU) == Placement(GPU, torch.bfloat16, capture=True)
    with pytest.raises(ConfigurationError, match="precision must be auto, float32, bfloat16, float16; got 'int3'"):
        Placement.choose(CPU, "int3")


def test_offloading_captures_no_graphs() -> None:
    assert Placement.choose(GPU, "float16", offload=True) == Placement(GPU, torch.float16, capture=False, offload=True)


def test_networks_that_are_offloaded_take_turns_and_draw_the_same(tiny_checkpoint: Path) -> None:
    """On a CPU, where being on the device means being a copy."""
    checkpoint, settings = Checkpoint.open(tiny_checkpoint), SamplingSettings("ddpm", 3)
    offloader = offloader_of(CPU)
    base = np.zeros((3, BASE, BASE), np.float32)
    text = TextEncoding.blank(WIDTH, CONTEXT, WIDTH)
    drawn = {}
    for offload in (False, True):
        decoder = Decoder(checkpoint, CPU, offload=offload)
        upsampler = Upsampler(checkpoint, CPU, offload=offload)
        seen = []
        given = Embedding(np.ones(WIDTH, np.float32), "")
        walks = [
            upsampler.upsample(UpsampleTask(base, 1, settings)),
            decoder.decode(DecodeTask(given, text, 1, settings, text)),
        ]
        stages: list[Upsampler | Decoder] = [upsampler, decoder]
        for stage, walk in zip(stages, walks, strict=True):
            while walk.position < walk.length:
                lane = walk.lane
                assert isinstance(lane, tuple)
                stage.programs[lane[0]].tick([walk])
                walk.position += 1
                seen.append(offloader.present)
        drawn[offload] = [walk.result() for walk in walks]
    assert [id(network) for network in seen[:3]] == [id(seen[0]), id(seen[0]), id(seen[2])]  # the last step has its own
    assert len({id(network) for network in seen}) == 3
    assert all(torch.equal(one, other) for one, other in zip(drawn[False], drawn[True], strict=True))


def test_a_network_that_leaves_the_device_leaves_no_copy() -> None:
    offloader = Offloader(CPU)
    networks = [torch.nn.Linear(2, 2) for _ in range(2)]
    homes = [network.weight.data_ptr() for network in networks]
    for network in networks:
        offloader.add(network)
    for turn in (0, 1, 0):
        networks[turn](torch.zeros(1, 2))
        away = [network.weight.data_ptr() != home for network, home in zip(networks, homes, strict=True)]
        assert away == [turn == 0, turn == 1]


def test_a_network_in_bfloat16_takes_and_gives_float32() -> None:
    seen: dict[str, torch.dtype] = {}

    def network(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        seen.update({name: value.dtype for name, value in inputs.items()})
        return inputs["sample"]

    run = Placement(CPU, torch.bfloat16).run(network)  # type: ignore[arg-type]
    out = run({"sample": torch.ones(1, 2), "timestep": torch.tensor([1]), "mask": torch.tensor([True])})
    assert out.dtype == torch.float32
    assert seen == {"sample": torch.bfloat16, "timestep": torch.int64, "mask": torch.bool}


class RecordedGraphs(CapturedNetwork):
    """Captures and replays as on a GPU, as far as counting them goes; ``eager`` counts passes without a graph."""

    def __init__(self) -> None:
        self.captured: list[int] = []
        self.eager = self.alive = 0
        super().__init__(self.run)  # type: ignore[arg-type]

    def run(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        self.eager += 1
        return 2 * inputs["states"]

    def _capture(self, inputs: dict[str, torch.Tensor]) -> Any:
        bench, static = self, {name: value.clone() for name, value in inputs.items()}
        out = torch.empty_like(static["states"])

        class Graph:
            def replay(self) -> None:
                out.copy_(2 * static["states"])

            def __del__(self) -> None:
                bench.alive -= 1

        self.captured.append(static["states"].shape[1])
        self.alive += 1
        return Graph(), static, out

    def ask(self, context: int, rows: int = 1) -> None:
        states = torch.rand(rows, context)
        assert torch.equal(self({"states": states}), 2 * states)


def test_contexts_of_any_length_keep_a_bounded_number_of_graphs_and_are_all_served() -> None:
    network = RecordedGraphs()
    for context in range(1, 513):
        network.ask(context, rows=3)
    assert network.captured == list(range(1, MAX_GRAPHS + 1))
    assert network.alive == MAX_GRAPHS
    assert network.eager == 512 - MAX_GRAPHS


def test_a_shape_asked_for_often_takes_the_place_of_the_graph_that_rests_longest() -> None:
    network = RecordedGraphs()
    for context in range(1, MAX_GRAPHS + 1):
        network.ask(context)
    network.ask(1)  # so that 2 rests longest
    for _ in range(CAPTURE_AFTER + 3):
        network.ask(77)
    assert network.captured[MAX_GRAPHS:] == [77]
    assert (network.alive, network.eager) == (MAX_GRAPHS, CAPTURE_AFTER - 1)
    network.ask(1)
    network.ask(2)
    assert network.eager == CAPTURE_AFTER


def text(value: float) -> TextEncoding:
    states = np.full((CONTEXT, WIDTH), value, np.float32)
    return TextEncoding(Embedding(states[0], ""), states, np.ones(CONTEXT, np.bool_))


def walked(programs: Mapping[str, Program[Any]], walk: Trajectory) -> torch.Tensor:
    for _ in range(walk.length):
        lane = walk.lane
        assert isinstance(lane, tuple)
        programs[lane[0]].tick([walk])
        walk.position += 1
    return walk.result()


def test_bfloat16_stays_close_to_float32_at_every_stage(tiny_checkpoint: Path) -> None:
    checkpoint, settings = Checkpoint.open(tiny_checkpoint), SamplingSettings("ddim", 4, 2.0)
    found: dict[str, list[torch.Tensor]] = {"prior": [], "decoder": [], "upsampler": []}
    for precision in ("float32", "bfloat16"):
        prior = Prior(checkpoint, CPU, precision)
        gist = walked(prior.programs, prior.sample(SampleTask(text(0.3), text(-0.1), 1, settings)))
        decoder = Decoder(checkpoint, CPU, precision)
        image = Embedding(np.full(WIDTH, 0.2, np.float32), "")
        base = walked(decoder.programs, decoder.decode(DecodeTask(image, text(-0.1), 1, settings, text(0.3))))
        upsampler = Upsampler(checkpoint, CPU, precision)
        small = torch.linspace(-1, 1, 3 * BASE * BASE).reshape(3, BASE, BASE)
        final = walked(
            upsampler.programs, upsampler.upsample(UpsampleTask(small.numpy(), 1, SamplingSettings("ddim", 3)))
        )
        for stage, value in zip(found, (gist, base, final), strict=True):
            assert value.dtype == torch.float32
            found[stage].append(value)
    for stage, (full, half) in found.items():
        # 8 bits of mantissa: a few per cent of the spread, on average over the elements.
        assert (full - half).abs().mean() < 0.05 * full.std() + 0.01, stage
        assert (full - half).abs().max() > 0, stage

"""A seed gives the same picture, bit for bit, alone and in a full batch of anything else, jobs coming and going."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from decoder_svc.decoder import Decoder
from decoder_svc.upsampler import Upsampler
from prior_svc.prior import Prior
from tests.tiny import BASE, CONTEXT, FINAL, WIDTH, make_tiny_checkpoint
from tests.unit.engine_bench import BatchSizes
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.diffusion.process import Process
from unclip.engine.engine import Engine
from unclip.engine.job import Job, Program
from unclip.engine.trajectory import Trajectory
from unclip.errors import Cancelled
from unclip.options import SamplingSettings
from unclip.wire.embeddings import Embedding, TextEncoding
from unclip.wire.known import KnownPixels
from unclip.wire.stage_reading import Float32Array
from unclip.wire.tasks import DecodeTask, InvertTask, SampleTask, UpsampleTask

CPU = torch.device("cpu")
CAPACITY, FULL = 9, 4

SETTINGS = [
    SamplingSettings("ddpm", 5, 8.0),
    SamplingSettings("ddim", 3, 1.0),
    SamplingSettings("dpm++2m", 8, 3.0),
    SamplingSettings("ddim", 11, 2.0, eta=1.0),
    SamplingSettings("ddpm", 2, 1.0),
    SamplingSettings("dpm++2m", 4, 1.0),
    SamplingSettings("ddpm", 20, 4.0),
    SamplingSettings("ddim", 6, 5.0, eta=0.5),
]

Make = Callable[[], Trajectory]


class Held(Job[None]):
    """Keeps the engine busy until the gate opens, so that all else is queued before the first tick."""

    def __init__(self) -> None:
        super().__init__(1)
        self.priority = 1  # it goes before walks of any stage
        self.gate = threading.Event()

    @property
    def lane(self) -> Hashable:
        return ("held",)

    def result(self) -> None:
        return None


class HeldProgram:
    def tick(self, jobs: Sequence[Held]) -> None:
        for job in jobs:
            assert job.gate.wait(60)


def alone(programs: Mapping[str, Program[Any]], walk: Trajectory) -> torch.Tensor:
    observer = BatchSizes()
    engine = Engine(programs, observer=observer)
    try:
        with engine.reserve() as room:
            room.submit(walk)
        return walk.future.result(60)
    finally:
        engine.close()
        assert set(observer.sizes) == {1}


def together(programs: Mapping[str, Program[Any]], makes: Sequence[Make]) -> list[torch.Tensor]:
    """All walks on one engine, more than fit at once, and others beside them, one of which is cancelled on its way.

    Asserts that the walks saw full batches.
    """
    observer = BatchSizes()
    engine = Engine(
        {**programs, "held": HeldProgram()}, capacity=CAPACITY, max_batch=FULL, queue_limit=100, observer=observer
    )
    sizes: set[int] = set()

    def watch(job: Job[Any]) -> None:
        if job.position and job.position < job.length:  # the last step may have a lane of its own
            sizes.add(observer.sizes[-1])

    def leave(job: Job[Any]) -> None:
        if job.position == 2:
            job.cancel()

    held = Held()
    walks, leaver = [make() for make in makes], makes[0]()
    for walk in walks:
        walk.notify = watch
    leaver.notify = leave
    company = [make() for make in (*makes, *makes)]
    try:
        jobs: list[Job[Any]] = [held, *walks[: FULL - 1], leaver, *walks[FULL - 1 :], *company]
        with engine.reserve(len(jobs)) as room:
            for job in jobs:
                room.submit(job)
        held.gate.set()
        results = [walk.future.result(120) for walk in walks]
        with pytest.raises(Cancelled):
            leaver.future.result(60)
    finally:
        held.gate.set()
        engine.close()
    assert sizes == {FULL}
    return results


def encoding(seed: int) -> TextEncoding:
    random = np.random.default_rng(seed)
    values = random.standard_normal(WIDTH, dtype=np.float32)
    states = random.standard_normal((CONTEXT, WIDTH), dtype=np.float32)
    return TextEncoding(Embedding(values, "tiny"), states, np.arange(CONTEXT) < random.integers(2, CONTEXT + 1))


def given(seed: int, *shape: int) -> Float32Array:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def known(seed: int, side: int) -> KnownPixels | None:
    """Half of a picture for two rows of three, whose walks take their steps twice where they are short."""
    if seed % 3 == 2:
        return None
    random = np.random.default_rng(seed)
    pixels = random.uniform(-1, 1, (3, side, side)).astype(np.float32)
    return KnownPixels(pixels, random.uniform(size=(side, side)) < 0.5, 2 if SETTINGS[seed].steps < 6 else 1)


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint: Path) -> Checkpoint:
    return Checkpoint.open(tiny_checkpoint)


def test_the_prior_finds_the_same_embedding_alone_and_in_a_full_batch(checkpoint: Checkpoint) -> None:
    prior = Prior(checkpoint, CPU)

    def make(i: int) -> Make:
        return lambda: prior.sample(SampleTask(encoding(i), encoding(99), i, SETTINGS[i]), i % 3)

    makes = [make(i) for i in range(len(SETTINGS))]
    for shared, make_one in zip(together(prior.programs, makes), makes, strict=True):
        assert torch.equal(shared, alone(prior.programs, make_one()))


@pytest.mark.parametrize("edits", [False, True])
def test_the_decoder_draws_the_same_picture_alone_and_in_a_full_batch(checkpoint: Checkpoint, edits: bool) -> None:
    decoder = Decoder(checkpoint, CPU)

    def make(i: int) -> Make:
        text, kept = encoding(i) if i % 2 else None, known(i, BASE) if edits else None
        task = DecodeTask(Embedding(given(i, WIDTH), "tiny"), encoding(99), i, SETTINGS[i], text, known=kept)
        return lambda: decoder.decode(task)

    makes = [make(i) for i in range(len(SETTINGS))]
    for shared, make_one in zip(together(decoder.programs, makes), makes, strict=True):
        assert torch.equal(shared, alone(decoder.programs, make_one()))


def test_the_decoder_inverts_a_picture_to_the_same_noise_alone_and_among_decodings(checkpoint: Checkpoint) -> None:
    decoder = Decoder(checkpoint, CPU)
    picture = given(0, 3, BASE, BASE).clip(-1, 1)

    def invert() -> Trajectory:
        return decoder.invert(
            InvertTask(b"", Embedding(given(1, WIDTH), "tiny"), encoding(99), 9), torch.from_numpy(picture)
        )

    def decode() -> Trajectory:
        return decoder.decode(DecodeTask(Embedding(given(2, WIDTH), "tiny"), encoding(99), 5, SETTINGS[2]))

    inverted = together(decoder.programs, [invert, decode, decode, decode, invert, decode])
    single = alone(decoder.programs, invert())
    assert torch.equal(inverted[0], single)
    assert torch.equal(inverted[4], single)


def test_a_decoder_of_v_prediction_that_thresholds_draws_and_inverts_as_its_scheduler_says_alone_and_in_company(
    tmp_path: Path,
) -> None:
    config = {
        "_class_name": "DDIMScheduler",
        "beta_schedule": "scaled_linear",
        "prediction_type": "v_prediction",
        "set_alpha_to_one": False,
        "steps_offset": 1,
        "thresholding": True,
        "sample_max_value": 2.0,
    }
    folder = make_tiny_checkpoint(tmp_path / "tiny", manifest=False)
    (folder / "decoder_scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    decoder, process = Decoder(Checkpoint.open(folder), CPU), Process.from_config(config)
    picture = given(0, 3, BASE, BASE).clip(-1, 1)

    def invert() -> Trajectory:
        return decoder.invert(
            InvertTask(b"", Embedding(given(1, WIDTH), "tiny"), encoding(99), 9), torch.from_numpy(picture)
        )

    def decode() -> Trajectory:
        return decoder.decode(DecodeTask(Embedding(given(2, WIDTH), "tiny"), encoding(99), 5, SETTINGS[7], encoding(3)))

    for walk, table in ((invert(), process.inversion(9)), (decode(), process.table(SETTINGS[7]))):
        assert vars(walk.course.table).keys() == vars(table).keys()
        assert all(np.array_equal(value, getattr(walk.course.table, name)) for name, value in vars(table).items())
    makes = [invert, decode, invert, decode, invert, decode]
    for shared, make in zip(together(decoder.programs, makes), makes, strict=True):
        assert torch.equal(shared, alone(decoder.programs, make()))


def test_a_student_draws_the_same_picture_alone_and_in_a_full_batch_of_other_scales_and_steps(
    taught_checkpoint: Path,
) -> None:
    decoder = Decoder(Checkpoint.open(taught_checkpoint), CPU)

    def make(i: int) -> Make:
        settings = SamplingSettings("ddim", 4 - i % 3, 1.0 + 0.9 * i)
        task = DecodeTask(
            Embedding(given(i, WIDTH), "tiny"), encoding(99), i, settings, encoding(i) if i % 2 else None, fast=True
        )
        return lambda: decoder.decode(task)

    makes = [make(i) for i in range(8)]
    shared = together(decoder.programs, makes)
    for one, make_one in zip(shared, makes, strict=True):
        assert torch.equal(one, alone(decoder.programs, make_one()))
    assert all(make_one().width == 1 for make_one in makes)  # one pass, whatever the scale
    assert not any(torch.equal(shared[0], other) for other in shared[1:])


def test_students_and_their_decoder_never_share_a_pass(taught_checkpoint: Path) -> None:
    decoder = Decoder(Checkpoint.open(taught_checkpoint), CPU)

    def make(i: int, fast: bool) -> Make:
        task = DecodeTask(
            Embedding(given(i, WIDTH), "tiny"), encoding(99), i, SamplingSettings("ddim", 4, 3.0), fast=fast
        )
        return lambda: decoder.decode(task)

    makes = [make(i, fast) for i in range(3) for fast in (True, False)]
    for one, make_one in zip(together(decoder.programs, makes), makes, strict=True):
        assert torch.equal(one, alone(decoder.programs, make_one()))
    assert {make_one().program for make_one in makes} == {"decoder", "decoder_student"}


@pytest.mark.parametrize("edits", [False, True])
def test_the_upsampler_draws_the_same_picture_alone_and_in_a_full_batch(checkpoint: Checkpoint, edits: bool) -> None:
    upsampler = Upsampler(checkpoint, CPU)

    def make(i: int) -> Make:
        base = given(i, 3, BASE, BASE).clip(-1, 1)
        task = UpsampleTask(base, i, SETTINGS[i], known(i, FINAL) if edits else None)
        return lambda: upsampler.upsample(task)

    makes = [make(i) for i in range(len(SETTINGS))]
    for shared, make_one in zip(together(upsampler.programs, makes), makes, strict=True):
        assert torch.equal(shared, alone(upsampler.programs, make_one()))


def test_upsampler_rows_that_end_together_share_the_last_network_too(checkpoint: Checkpoint) -> None:
    upsampler = Upsampler(checkpoint, CPU)
    settings = [SamplingSettings(other.sampler, 5, 1.0, other.eta) for other in SETTINGS[:FULL]]

    def make(i: int) -> Make:
        return lambda: upsampler.upsample(UpsampleTask(given(i, 3, BASE, BASE), i, settings[i]))

    singles = [alone(upsampler.programs, make(i)()) for i in range(FULL)]
    held, walks = Held(), [make(i)() for i in range(FULL)]
    observer = BatchSizes()
    engine = Engine({**upsampler.programs, "held": HeldProgram()}, max_batch=FULL, observer=observer)
    try:
        with engine.reserve(FULL + 1) as room:
            room.submit(held)
            for walk in walks:
                room.submit(walk)
        held.gate.set()
        for walk, single in zip(walks, singles, strict=True):
            assert torch.equal(walk.future.result(60), single)
    finally:
        held.gate.set()
        engine.close()
    assert observer.sizes == [1, *[FULL] * 5]

"""A decoder's student: where its walks end, what its network is told, and what it is said to cost."""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, cast, get_args
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.latent_consistency_models import LatentConsistencyModelPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_unclip import UnCLIPScheduler

from decoder_svc import networks
from decoder_svc.decoder import Decoder
from decoder_svc.servicer import DecoderServicer
from tests.kandinsky import make_tiny_kandinsky
from tests.tiny import BASE, CONTEXT, STUDENT_SCHEDULER, WIDTH
from unclip.api.decoder.v1 import decoder_pb2
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.checkpoints.convert import convert
from unclip.checkpoints.manifest import digest, write_manifest
from unclip.diffusion.guidance import scale_embedding
from unclip.diffusion.process import Process
from unclip.diffusion.table import Prediction
from unclip.engine.engine import Engine
from unclip.engine.trajectory import Trajectory, TrajectoryProgram
from unclip.errors import CheckpointError, Overloaded
from unclip.networks.interface import Tensors
from unclip.networks.placement import Placement
from unclip.options import SamplingSettings
from unclip.triton.onnx import trial
from unclip.wire.embeddings import Embedding, TextEncoding
from unclip.wire.stage_reading import StageSpec
from unclip.wire.tasks import DecodeTask

CPU = torch.device("cpu")
DEVIATION = 0.3  # of the data, whose mean follows from the scale
SCALES = (1.0, 3.0, 7.5)
CONFIG = {**STUDENT_SCHEDULER, "_class_name": "DDIMScheduler"}
THEIRS = DDIMScheduler(**STUDENT_SCHEDULER)
LEVELS = THEIRS.alphas_cumprod.double()  # diffusers' own schedule, in float32
SHAPE = (3, 4, 4)


def mean_of(scale: torch.Tensor) -> torch.Tensor:
    return 0.1 * scale - 0.4


def perfect(prediction: Prediction, inputs: Tensors) -> torch.Tensor:
    """What a network that knows the data, ``N(mean_of(scale), DEVIATION**2)``, says of x."""
    bar = LEVELS[inputs["timestep"]].reshape(-1, 1, 1, 1)
    x, mean = inputs["sample"].double(), mean_of(inputs["guidance"].double()).reshape(-1, 1, 1, 1)
    alpha, sigma = bar.sqrt(), (1 - bar).sqrt()
    x0 = mean + alpha * DEVIATION**2 / (bar * DEVIATION**2 + sigma**2) * (x - alpha * mean)
    noise = (x - alpha * x0) / sigma
    out: torch.Tensor = {"sample": x0, "epsilon": noise, "v_prediction": alpha * noise - sigma * x0}[prediction]
    return out.float()


def closed_form(start: torch.Tensor, scale: float, steps: int) -> torch.Tensor:
    """Where DDIM ends: each step multiplies the distance from the noisy mean by a number, as x0 is linear in x."""
    THEIRS.set_timesteps(steps)
    bars = [*(LEVELS[int(t)] for t in THEIRS.timesteps), torch.tensor(1.0, dtype=torch.float64)]
    mean, shrunk = mean_of(torch.tensor(scale, dtype=torch.float64)), torch.tensor(1.0, dtype=torch.float64)
    for bar, after in pairwise(bars):
        total = bar * DEVIATION**2 + (1 - bar)
        along, across = bar.sqrt() * DEVIATION**2 / total, (1 - bar).sqrt() / total  # of x0, and of the noise
        shrunk = shrunk * (after.sqrt() * along + (1 - after).sqrt() * across)
    end: torch.Tensor = mean + shrunk * (start.double() - bars[0].sqrt() * mean)
    return end


@pytest.mark.parametrize("prediction", get_args(Prediction))
@pytest.mark.parametrize("steps", [2, 4])
def test_a_walk_ends_where_the_closed_form_of_ddim_says_for_rows_of_several_scales(
    prediction: Prediction, steps: int
) -> None:
    process = Process.from_config({**CONFIG, "prediction_type": prediction})
    random = torch.Generator().manual_seed(0)
    starts = [torch.randn(SHAPE, generator=random) for _ in SCALES]
    walks = [
        Trajectory(
            ("student",),
            process.table(SamplingSettings("ddim", steps)),
            SHAPE,
            CPU,
            {"guidance": torch.tensor(scale)},
            start=start,
        )
        for scale, start in zip(SCALES, starts, strict=True)
    ]
    engine = Engine({"student": TrajectoryProgram(lambda inputs: perfect(prediction, inputs))})
    try:
        with engine.reserve(len(walks)) as room:
            for walk in walks:
                room.submit(walk)
        ends = [walk.future.result(60) for walk in walks]
    finally:
        engine.close()
    # At the noisiest step noise is 20,000 times what it hides: predicted in float32 it hides that from nobody else.
    tolerance = 2e-2 if prediction == "epsilon" else 1e-5
    for scale, start, end in zip(SCALES, starts, ends, strict=True):
        torch.testing.assert_close(end.double(), closed_form(start, scale, steps), rtol=0, atol=tolerance)


@pytest.mark.parametrize("dim", [4, 16, 17, 256])
def test_the_scale_is_embedded_as_by_diffusers(dim: int) -> None:
    scales = torch.linspace(1, 8, 29)
    theirs = LatentConsistencyModelPipeline.get_guidance_scale_embedding(cast(Any, None), scales, dim)
    assert torch.allclose(scale_embedding(scales, dim), theirs, atol=2e-3)  # angles to 8000, in float32
    assert scale_embedding(scales, dim).shape == (29, dim)


def inputs_of(checkpoint: Checkpoint, *scales: float) -> dict[str, torch.Tensor]:
    """What a student's network may be given."""
    signature = networks.signature("decoder_student", checkpoint)
    return {**trial(signature, len(scales), 5), "guidance": torch.tensor(scales)}


def test_the_network_is_diffusers_with_the_scale_in_the_place_of_a_time_condition(taught_checkpoint: Path) -> None:
    checkpoint = Checkpoint.open(taught_checkpoint)
    ours = networks.load("decoder_student", checkpoint, Placement(CPU))
    theirs = UNet2DConditionModel.from_pretrained(taught_checkpoint / "decoder_student")
    inputs = inputs_of(checkpoint, *SCALES)
    with torch.inference_mode():
        expected = theirs(
            inputs["sample"],
            inputs["timestep"],
            inputs["context"],
            class_labels=inputs["addition"],
            timestep_cond=scale_embedding(inputs["guidance"], 16),
            attention_mask=inputs["mask"],
        ).sample
        torch.testing.assert_close(ours(inputs), expected, rtol=1e-4, atol=1e-4)
        moved = ours({**inputs, "guidance": inputs["guidance"] + 0.01})
    assert (moved - expected).abs().max() > 1e-2  # the scale matters, and each of its hundredths


def test_in_half_precision_the_scale_is_not_rounded_before_it_is_embedded(taught_checkpoint: Path) -> None:
    checkpoint = Checkpoint.open(taught_checkpoint)
    placement = Placement.choose(CPU, "bfloat16")
    half, whole = (networks.load("decoder_student", checkpoint, how) for how in (placement, Placement(CPU)))
    inputs = inputs_of(checkpoint, 3.005, 4.51, 7.29)  # bfloat16 has steps of 0.016 there, and of 0.031
    with torch.inference_mode():
        found, exact = half(inputs), whole(inputs)
        rounded = whole({**inputs, "guidance": inputs["guidance"].bfloat16().float()})
    assert (found - exact).norm() < (found - rounded).norm() / 2


def predicting(prediction: str, source: Path, folder: Path) -> Checkpoint:
    """A copy of a checkpoint whose student says that it predicts that."""
    shutil.copytree(source, folder)
    file, manifest = folder / "decoder_student_scheduler" / "scheduler_config.json", folder / "unclip.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "prediction_type": prediction}))
    told = json.loads(manifest.read_text())
    told["files"][file.relative_to(folder).as_posix()] = digest(file)
    manifest.write_text(json.dumps(told))
    return Checkpoint.open(folder)


def task(sampling: SamplingSettings, fast: bool = True) -> DecodeTask:
    random = np.random.default_rng(0)
    gist = Embedding(random.standard_normal(WIDTH, dtype=np.float32), "tiny")
    states = random.standard_normal((CONTEXT, WIDTH), dtype=np.float32)
    return DecodeTask(gist, TextEncoding(gist, states, np.ones(CONTEXT, np.bool_)), 5, sampling, fast=fast)


@pytest.mark.parametrize("prediction", get_args(Prediction))
def test_a_student_walks_by_its_own_schedule_and_prediction(
    taught_checkpoint: Path, tmp_path: Path, prediction: Prediction
) -> None:
    decoder = Decoder(predicting(prediction, taught_checkpoint, tmp_path / "taught"), CPU)
    sampling = SamplingSettings("ddim", 4, 3.0)
    table = Process.from_config({**CONFIG, "prediction_type": prediction}).table(sampling)
    walked = decoder.decode(task(sampling)).course.table
    assert all(np.array_equal(getattr(walked, name), value) for name, value in vars(table).items())
    teachers = decoder.decode(task(sampling, fast=False)).course.table
    assert not np.array_equal(teachers.timesteps, walked.timesteps)


def test_a_prediction_that_is_none_is_refused(taught_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"decoder_student_scheduler/.*prediction_type must be .*v_prediction"):
        Decoder(predicting("flow", taught_checkpoint, tmp_path / "taught"), CPU)


@pytest.mark.parametrize(
    ("asked", "steps", "width", "program"),
    [
        ({"fast": True}, 4, 1, "decoder_student"),
        ({"fast": True, "sampling": {"steps": 2, "guidance_scale": 7}}, 2, 1, "decoder_student"),
        ({}, 12, 2, "decoder"),
        ({"sampling": {"guidance_scale": 1}}, 12, 1, "decoder"),
    ],
)
def test_a_students_steps_are_counted_as_one_pass_each_before_they_are_let_in(
    asked: dict[str, Any], steps: int, width: int, program: str
) -> None:
    spec = StageSpec(
        "tiny", WIDTH, size=BASE, defaults=SamplingSettings("ddim", 12, 3.0), fast=SamplingSettings("ddim", 4, 3.0)
    )
    engine, context = MagicMock(), MagicMock()
    engine.reserve.side_effect = Overloaded("full", 1.0)
    servicer = DecoderServicer(MagicMock(), engine, spec, MagicMock(), MagicMock(), MagicMock())

    async def ask() -> None:
        await anext(servicer.Decode(decoder_pb2.DecodeRequest(**asked), context))

    with pytest.raises(Overloaded):
        asyncio.run(ask())
    [_, _, likely] = engine.reserve.call_args.args
    assert (likely.length, likely.width, likely.program) == (steps, width, program)


def test_a_decoder_of_latents_that_reads_no_text_may_have_a_student_too(tmp_path: Path) -> None:
    folder = convert(str(make_tiny_kandinsky(tmp_path)[2]), tmp_path / "made")  # that is shown what is known
    config = json.loads((folder / "decoder" / "config.json").read_text())
    of_student = {**config, "in_channels": 4, "out_channels": 4, "time_cond_proj_dim": 16}
    UNet2DConditionModel.from_config(of_student).save_pretrained(folder / "decoder_student")
    UnCLIPScheduler(prediction_type="sample", clip_sample=False).save_pretrained(folder / "decoder_student_scheduler")
    told = json.loads((folder / "unclip.json").read_text())
    kept = {name: told[name] for name in ("name", "license", "defaults", "sizes", "clip_space")}
    write_manifest(folder, **kept, fast={"decoder": {"sampler": "ddim", "steps": 2, "guidance_scale": 3.0}})
    decoder = Decoder(Checkpoint.open(folder), CPU)
    asked = DecodeTask(task(SamplingSettings()).embedding, None, 5, SamplingSettings("ddim", 2, 3.0), fast=True)
    teachers = replace(asked, sampling=SamplingSettings("ddim", 2), fast=False)
    walks = [decoder.decode(each) for each in (asked, replace(asked, width=128), teachers)]
    engine = Engine(decoder.programs)
    try:
        with engine.reserve(len(walks)) as room:
            for walk in walks:
                room.submit(walk)
        shapes = [tuple(walk.future.result(60).shape) for walk in walks]
    finally:
        engine.close()
    assert shapes == [(4, 8, 8), (4, 8, 16), (4, 8, 8)]

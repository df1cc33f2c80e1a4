"""equality: the same request alone, in company, and with another number of threads.

Requests of all capabilities, of the compositions that the gateway runs (`gateway.capabilities`), in
front of engines with the checkpoint's networks in this process. Each request runs alone, with one thread, again, and
with two; then all of them at once, in batches of mixed rows, jobs coming and going, in several orders. Pictures are
compared with those made alone with as many threads, and those of one thread with those of two; the figures are the
largest difference of any channel of any pixel, of 255, for each capability, and how many pictures of company differ at
all. It takes about an hour.

Sizes of requests differ: decoder 2 to 8 steps (12 where a source is inverted), guidance 1 to 6, all samplers, one or
two pictures or frames; the upsampler takes 1 to 3 steps.
"""

from __future__ import annotations

import asyncio
import io
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from decoder_svc.decoder import Decoder
from decoder_svc.upsampler import Upsampler
from encoder_svc.encoder import Encoder
from gateway.capabilities.edit import edit
from gateway.capabilities.generate import generate
from gateway.capabilities.interpolate import interpolate
from gateway.capabilities.text_diff import text_diff
from gateway.capabilities.vary import vary
from gateway.events import EventQueue, Finished, Reporter, events_of
from gateway.requests.fitting import Subject
from gateway.requests.plan import (
    EditPlan,
    GeneratePlan,
    InterpolatePlan,
    Output,
    Plan,
    SourceImage,
    TextDiffPlan,
    VaryPlan,
)
from prior_svc.prior import Prior
from tests.bench.options import Options
from tests.bench.report import Report
from tests.unit.engine_bench import BatchSizes
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.engine.engine import Engine
from unclip.engine.job import Job
from unclip.options import SamplerName, SamplingSettings
from unclip.wire.embeddings import Embedding, TextEncoding
from unclip.wire.images import fit, from_pixels, to_pixels
from unclip.wire.stage_reading import Float32Array
from unclip.wire.tasks import DecodeTask, Inversion, InvertTask, SampleTask, UpsampleTask

CPU = torch.device("cpu")
CAPABILITIES = ("generate", "vary", "text_diff", "interpolate", "edit")
WORDS = ("a red apple", "a cat", "a dog", "a green heart", "a house", "a robot", "the sun", "a red car", "a blue fish")
REQUESTS, PIECE = 320, 40  # in all, and at once
COMPANIES = ((1, 1), (1, 2), (2, 3), (2, 4), (2, 5))  # threads, and what the order is drawn from
Pictures = list[npt.NDArray[np.uint8]]


@dataclass
class LocalStages:
    """The stages of a checkpoint as `gateway.capabilities.compose.Stages`, each behind an engine of its own; no gRPC.

    max_batch: most rows of a tick. observers: of each engine.
    """

    encoder: Encoder
    prior: Prior
    decoder: Decoder
    upsampler: Upsampler
    max_batch: int = 8
    engines: dict[str, Engine] = field(default_factory=dict)
    observers: dict[str, BatchSizes] = field(default_factory=dict)

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> LocalStages:
        """The networks of ``checkpoint``, on the CPU."""
        how = (checkpoint, CPU)
        return cls(Encoder(*how), Prior(*how), Decoder(*how), Upsampler(*how))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Engines of default capacity and room for everybody."""
        for name in ("encoder", "prior", "decoder", "upsampler"):
            programs = getattr(self, name).programs
            self.engines[name] = Engine(
                programs,
                max_batch=self.max_batch,
                queue_limit=10_000,
                stage=name,
                observer=self.observers.setdefault(name, BatchSizes()),
            )
        try:
            yield
        finally:
            for engine in self.engines.values():
                engine.close()

    async def _run(self, name: str, make: Callable[[], Sequence[Job[torch.Tensor]]]) -> list[torch.Tensor]:
        engine = self.engines[name]
        jobs = await asyncio.wrap_future(engine.call(make))
        with engine.reserve(len(jobs)) as room:
            for job in jobs:
                room.submit(job)
        return [await asyncio.wrap_future(job.future) for job in jobs]

    async def encode_text(self, captions: Sequence[str]) -> list[TextEncoding]:
        """See `Stages`, here and below."""
        tokens = self.encoder.tokenize(captions)
        found = await self._run("encoder", lambda: self.encoder.text_jobs(tokens))
        return self.encoder.text_encodings(found, tokens)

    async def encode_images(self, images: Sequence[bytes]) -> list[Embedding]:
        opened = [Image.open(io.BytesIO(data)).convert("RGB") for data in images]
        found = await self._run("encoder", lambda: self.encoder.image_jobs(opened))
        return [Embedding(result.numpy(), self.encoder.clip_space) for result in found]

    async def sample_prior(self, task: SampleTask, reporter: Reporter) -> Embedding:
        found = await self._run("prior", lambda: [self.prior.sample(task, row) for row in range(task.candidates)])
        guesses = np.stack([guess.numpy() for guess in found])
        best = int((guesses @ task.text.embedding.values).argmax())
        return Embedding(guesses[best], self.encoder.clip_space)

    async def decode(self, task: DecodeTask, reporter: Reporter) -> Float32Array:
        [sample] = await self._run("decoder", lambda: [self.decoder.decode(task)])
        return np.asarray(sample.numpy())

    async def invert(self, task: InvertTask, reporter: Reporter) -> Inversion:
        picture = to_pixels(fit(Image.open(io.BytesIO(task.image)).convert("RGB"), self.decoder.size))
        [noise] = await self._run("decoder", lambda: [self.decoder.invert(task, torch.from_numpy(picture))])
        return Inversion(np.asarray(noise.numpy()))

    async def upsample(self, task: UpsampleTask, reporter: Reporter) -> Float32Array:
        [picture] = await self._run("upsampler", lambda: [self.upsampler.upsample(task)])
        return np.asarray(picture.numpy())


def plan_of(number: int, side: int) -> tuple[str, Plan]:
    """Request ``number``, and the name of its capability; side: of finished pictures."""
    chance = random.Random(number)
    name = CAPABILITIES[number % len(CAPABILITIES)]
    output = Output(SamplingSettings("ddpm", chance.choice((1, 1, 2, 3))))
    prior = SamplingSettings("ddpm", chance.randint(2, 5), chance.choice((1.0, 2.0)))
    sampler: SamplerName = chance.choice(("ddpm", "ddim", "dpm++2m"))
    painter = SamplingSettings(sampler, chance.randint(2, 8), chance.choice((1.0, 3.0, 6.0)))
    back = SamplingSettings("ddim", chance.randint(3, 12), chance.choice((1.0, 1.0, 3.0)), chance.choice((0.0, 0.5)))
    seeds = tuple(range(number, number + chance.randint(1, 2)))
    one, other = source(number, side), source(number + 1, side)
    match name:
        case "generate":
            return name, GeneratePlan(chance.choice(WORDS), seeds, 2, prior, painter, output)
        case "vary":
            return name, VaryPlan(one, seeds, "inverted", back, output)
        case "text_diff":
            before, after = chance.sample(WORDS, 2)
            return name, TextDiffPlan(one, before, after, (0.2, 0.4)[: len(seeds)], number, back, output)
        case "interpolate":
            ts = (0.5, 0.8)[: len(seeds)]
            return name, InterpolatePlan(one, other, "", ts, "inverted", number, 1, prior, back, output)
    kept = np.zeros((side, side), np.bool_)
    kept[:, : side // 2] = True
    wanted = GeneratePlan(chance.choice(WORDS), seeds, 2, prior, painter, output)
    subject = Subject(np.asarray(Image.open(io.BytesIO(one.data))), kept)
    return name, EditPlan(wanted, subject, (one,), chance.randint(1, 2))


def source(number: int, side: int) -> SourceImage:
    """A picture to begin with: some discs on white."""
    chance = np.random.default_rng(number)
    rows, columns = np.mgrid[:side, :side] / side
    pixels = np.full((side, side, 3), 255, np.uint8)
    for _ in range(4):
        (row, column), radius = chance.uniform(0.2, 0.8, 2), chance.uniform(0.1, 0.3)
        pixels[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] = chance.integers(0, 256, 3)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return SourceImage(file.getvalue(), str(number))


async def pictures_of(plan: Plan, stages: LocalStages, empty: TextEncoding) -> Pictures:
    """The pictures of one request, uint8 ``[H, W, 3]``, in its order."""

    def work(queue: EventQueue) -> Awaitable[None]:
        match plan:
            case GeneratePlan():
                return generate(plan, stages, empty, queue)
            case VaryPlan():
                return vary(plan, stages, empty, queue)
            case TextDiffPlan():
                return text_diff(plan, "{}", stages, empty, queue)
            case InterpolatePlan():
                return interpolate(plan, stages, empty, queue)
        return edit(plan, (stages.decoder.size,) * 2, stages, empty, queue)

    found = {event.image_index: event.pixels async for event in events_of(work) if isinstance(event, Finished)}
    return [np.asarray(from_pixels(found[index])) for index in sorted(found)]


def alone(numbers: Sequence[int], stages: LocalStages, threads: int = 1) -> dict[int, Pictures]:
    """Each request by itself."""

    async def one_after_another() -> dict[int, Pictures]:
        async with stages.running():
            [empty] = await stages.encode_text([""])
            return {n: await pictures_of(plan_of(n, stages.upsampler.size)[1], stages, empty) for n in numbers}

    torch.set_num_threads(threads)
    return asyncio.run(one_after_another())


def together(numbers: Sequence[int], stages: LocalStages, threads: int = 1, order: int = 0) -> dict[int, Pictures]:
    """All requests at once, in an order drawn from ``order``."""
    shuffled = random.Random(order).sample(list(numbers), len(numbers))

    async def at_once() -> dict[int, Pictures]:
        async with stages.running():
            [empty] = await stages.encode_text([""])
            plans = [plan_of(number, stages.upsampler.size)[1] for number in shuffled]
            made = await asyncio.gather(*(pictures_of(plan, stages, empty) for plan in plans))
            return dict(zip(shuffled, made, strict=True))

    torch.set_num_threads(threads)
    return asyncio.run(at_once())


@dataclass
class Tally:
    """Pictures compared, how many of them differ, and the largest difference, of 255."""

    pairs: int = 0
    differing: int = 0
    largest: int = 0

    def add(self, some: Pictures, others: Pictures) -> None:
        """Compares picture with picture."""
        for one, other in zip(some, others, strict=True):
            apart = int(np.abs(one.astype(int) - other.astype(int)).max())
            self.pairs += 1
            self.differing += apart > 0
            self.largest = max(self.largest, apart)


Tallies = dict[tuple[str, str], Tally]  # by capability, and by what it was compared with


def measure(numbers: Sequence[int], stages: LocalStages, found: Tallies) -> None:
    """Compares these requests, in every way."""
    single = {threads: alone(numbers, stages, threads) for threads in (1, 2)}
    compared = {
        "alone again": (single[1], alone(numbers, stages)),
        "alone, 1 thread and 2": (single[1], single[2]),
    }
    for threads, order in COMPANIES:
        made = together(numbers, stages, threads, order)
        compared[f"together, {threads} threads, order {order}"] = single[threads], made
    for way, (some, others) in compared.items():
        for number in numbers:
            name = CAPABILITIES[number % len(CAPABILITIES)]
            found.setdefault((name, way), Tally()).add(some[number], others[number])


def conclude(found: Tallies) -> Report:
    """The figures, of all that was compared."""
    report = Report("equality")
    for (name, way), tally in found.items():
        report.rows.append({"capability": name, "compared": way, **vars(tally)})
    for name in CAPABILITIES:
        largest = max((tally.largest for (of, _), tally in found.items() if of == name), default=0)
        report.figure(f"largest_{name}_of_255", largest, "<= 1")
    company = [tally for (_, way), tally in found.items() if way.startswith("together")]
    report.figure("mixed_pairs", sum(tally.pairs for tally in company))
    report.figure("mixed_pairs_differing", sum(tally.differing for tally in company), "== 0")
    return report


def run(options: Options) -> Report:
    """Measures in pieces of as many requests as run at once."""
    stages, found = LocalStages.of(Checkpoint.open(options.checkpoint)), Tallies()
    for first in range(0, 5 if options.quick else REQUESTS, PIECE):
        measure(range(first, first + (5 if options.quick else PIECE)), stages, found)
    return conclude(found)

"""What the compositions need from the stages, and the tail they share: from an embedding to a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

from gateway.events import EventQueue, Finished, Reporter
from gateway.requests.plan import Plan
from unclip.wire.by_name import PLAIN
from unclip.wire.embeddings import Embedding, TextEncoding
from unclip.wire.known import KnownPixels
from unclip.wire.stage_reading import Float32Array
from unclip.wire.tasks import DecodeTask, Inversion, InvertTask, SampleTask, Task, UpsampleTask

# Frames of one request at work at a time: a long trajectory must not fill a stage's queue by itself.
FRAMES_AT_ONCE = 16


class Stages(Protocol):
    """The four stages as one call sees them: its deadline and request id are already applied.

    Samples and noise are float32 ``[3, H, W]``, samples in [-1, 1], or where the decoder walks latents these,
    ``[C, h, w]``. A decoder that reads no text is guided away from the null picture where a task has nothing else.
    Every method may raise any UnclipError that stands for a failed stage: Unavailable, Overloaded, DeadlineExceeded,
    PreconditionFailed.
    """

    async def encode_text(self, captions: Sequence[str]) -> list[TextEncoding]:
        """f_t: the encoding of each of 1 to 64 captions."""
        ...

    async def encode_images(self, images: Sequence[bytes]) -> list[Embedding]:
        """f_i: the embedding of each picture file."""
        ...

    async def sample_prior(self, task: SampleTask, reporter: Reporter) -> Embedding:
        """z_i ~ P(z_i | caption): the candidate closest to the caption."""
        ...

    async def decode(self, task: DecodeTask, reporter: Reporter) -> Float32Array:
        """x ~ P(x | z_i, caption) at base size."""
        ...

    async def invert(self, task: InvertTask, reporter: Reporter) -> Inversion:
        """x_T from which DDIM decodes the picture, and if asked for, how well it does."""
        ...

    async def upsample(self, task: UpsampleTask, reporter: Reporter) -> Float32Array:
        """What the decoder made as pixels, float32 ``[3, H, W]`` in [-1, 1], at final size."""
        ...


@dataclass(frozen=True, eq=False)
class Kept:
    """What is known of a picture at the size the decoder makes, ``base``, and at the upsampler's, ``final``."""

    base: KnownPixels
    final: KnownPixels


def task_of(plan: Plan, kind: type[Task], **given: Any) -> Task:
    """A stage's task: what is ``given``; of the rest what ``plan``, or else its request, has under the same name."""
    planned = {
        each.name: getattr(place, each.name)
        for place in (plan, plan.output)
        for each in fields(kind)
        if hasattr(place, each.name)
    }
    return PLAIN.read(kind, plan.asked, **{**planned, **given})


async def encode_captions(captions: Mapping[str, str], stages: Stages, queue: EventQueue) -> dict[str, TextEncoding]:
    """f_t of captions by the names of their fields, equal ones encoded once; what there is to say of one is told."""
    asked = list(dict.fromkeys(captions.values()))
    encodings = dict(zip(asked, await stages.encode_text(asked), strict=True)) if asked else {}
    for field, caption in captions.items():
        for notice in encodings[caption].notices:
            queue.tell(replace(notice, field=field))
    return {field: encodings[caption] for field, caption in captions.items()}


async def pixels_of(
    task: DecodeTask, plan: Plan, stages: Stages, reporter: Reporter, known: KnownPixels | None = None
) -> Float32Array:
    """Decodes ``task`` and upsamples with its seed: float32 ``[3, H, W]`` in [-1, 1]. known: at final size."""
    sample = await stages.decode(task, reporter)
    return await stages.upsample(
        task_of(plan, UpsampleTask, sample=sample, seed=task.seed, sampling=plan.output.upsampler, known=known),
        reporter,
    )


async def paint(
    task: DecodeTask, plan: Plan, stages: Stages, queue: EventQueue, index: int, inversion_psnr: float | None = None
) -> None:
    """Decodes ``task`` and upsamples, and delivers the result as picture ``index`` of the request."""
    # No name for the pixels: what waits to be read is their file alone.
    await queue.deliver(
        Finished(await pixels_of(task, plan, stages, Reporter(queue, index)), index, inversion_psnr=inversion_psnr)
    )

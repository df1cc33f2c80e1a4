"""A task that a stage is asked for arrives as it was sent, whole: no field is lost on the way there."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from prior_svc.settings import Settings
from unclip.api.encoder.v1 import encoder_pb2
from unclip.api.prior.v1 import prior_pb2
from unclip.errors import InvalidRequest, PreconditionFailed
from unclip.options import SamplingSettings, Sizes
from unclip.serving.channels import MAX_ANSWER
from unclip.wire.embeddings import Embedding, TextEncoding
from unclip.wire.images import psnr, to_pixels
from unclip.wire.known import KnownPixels
from unclip.wire.limits import MAX_CAPTIONS
from unclip.wire.stage_reading import StageSpec
from unclip.wire.tasks import DecodeTask, InvertTask, SampleTask, UpsampleTask

Task = SampleTask | DecodeTask | InvertTask | UpsampleTask
DIM, CONTEXT, SIZE = 6, 5, 8
SPEC = StageSpec("clip", DIM, CONTEXT, SIZE, fast=SamplingSettings("ddim", 4, 3.0))
RANDOM = np.random.default_rng(0)
SETTINGS = SamplingSettings("ddim", 7, 2.5, 0.5)


def text(tokens: int) -> TextEncoding:
    states = RANDOM.standard_normal((CONTEXT, DIM), np.float32)
    return TextEncoding(embedding(), states, np.arange(CONTEXT) < tokens)


def embedding() -> Embedding:
    return Embedding(RANDOM.standard_normal(DIM, np.float32), "clip")


def pixels(side: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return RANDOM.uniform(-1, 1, (3, side, side)).astype(np.float32)


def known() -> KnownPixels:
    return KnownPixels(pixels(SIZE), RANDOM.uniform(size=(SIZE, SIZE)) < 0.5, 3)


def picture_file() -> bytes:
    file = io.BytesIO()
    Image.fromarray(RANDOM.integers(0, 256, (SIZE, SIZE, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


SAMPLE = SampleTask(text(3), text(1), -5, SETTINGS, 4)
DECODE = DecodeTask(
    embedding(), text(1), 6, SETTINGS, text(3), pixels(SIZE), known(), 2, embedding(), width=SIZE, height=SIZE
)
INVERT = InvertTask(picture_file(), embedding(), text(1), 9, True, width=SIZE, height=SIZE)
UPSAMPLE = UpsampleTask(pixels(4), 7, SamplingSettings("dpm++2m", 3), known())
TASKS: list[Task] = [SAMPLE, DECODE, INVERT, UPSAMPLE]
STUDENTS = DecodeTask(embedding(), text(1), 6, SamplingSettings("ddim", 2, 2.5), text(3), fast=True)
EXCLUDED = {"fast"}  # by what else DECODE says


def same(one: Any, other: Any) -> bool:
    if dataclasses.is_dataclass(one):
        return type(one) is type(other) and all(
            same(getattr(one, field.name), getattr(other, field.name)) for field in dataclasses.fields(one)
        )
    return bool(np.array_equal(one, other)) if isinstance(one, np.ndarray) else one == other


def there(task: Task, spec: StageSpec = SPEC) -> object:
    """What the stage reads of what the gateway writes."""
    match task:
        case SampleTask():
            return SampleTask.from_proto(task.to_proto(), spec)
        case DecodeTask():
            return DecodeTask.from_proto(task.to_proto(), spec)
        case InvertTask():
            return InvertTask.from_proto(task.to_proto(), spec)[0]
        case UpsampleTask():
            return UpsampleTask.from_proto(task.to_proto(), spec)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: type(task).__name__)
def test_a_task_with_every_field_arrives_as_it_was_sent(task: Task) -> None:
    for field in dataclasses.fields(task):  # so that a new field is part of this test
        value = getattr(STUDENTS if field.name in EXCLUDED else task, field.name)
        assert not same(value, field.default), f"{field.name} is as where it is not given"
    assert same(there(task), task)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: type(task).__name__)
def test_a_task_fills_every_field_of_its_message_but_how_it_is_watched(task: Task) -> None:
    message = task.to_proto()
    set_fields = {field.name for field, _ in message.ListFields()}
    assert set(message.DESCRIPTOR.fields_by_name) - set_fields - EXCLUDED == {"omit_progress"}


def test_a_students_task_arrives_as_it_was_sent_and_takes_its_own_defaults() -> None:
    assert same(there(STUDENTS), STUDENTS)
    request = STUDENTS.to_proto()
    request.ClearField("sampling")
    assert DecodeTask.from_proto(request, SPEC).sampling == SPEC.fast


def test_a_student_takes_no_more_than_it_was_taught_and_all_that_is_wrong_is_said_at_once() -> None:
    request = DECODE.to_proto()
    request.fast, request.sampling.guidance_scale = True, 9
    with pytest.raises(InvalidRequest) as refused:
        DecodeTask.from_proto(request, SPEC)
    told = {each.field: each.description for each in refused.value.violations}
    assert told.keys() == {"sampling.guidance_scale", "sampling.eta", "start_noise", "known"}
    assert told["sampling.guidance_scale"] == "must be 1 to 8; got 9"
    assert told["sampling.eta"] == "must be 0 of a student; got 0.5"


@pytest.mark.parametrize("task", TASKS, ids=lambda task: type(task).__name__)
def test_no_more_steps_are_taken_than_the_scheduler_has_timesteps(task: Task) -> None:
    field, steps = ("steps", task.steps) if isinstance(task, InvertTask) else ("sampling.steps", task.sampling.steps)
    assert same(there(task, dataclasses.replace(SPEC, max_steps=steps)), task)
    with pytest.raises(InvalidRequest, match=rf"^{field}: must be 1 to {steps - 1}; got {steps}$"):
        there(task, dataclasses.replace(SPEC, max_steps=steps - 1))


def test_a_student_takes_no_more_steps_than_its_own_scheduler_has_timesteps() -> None:
    steps = STUDENTS.sampling.steps
    enough = dataclasses.replace(SPEC, max_steps=1, max_fast_steps=steps)
    assert same(DecodeTask.from_proto(STUDENTS.to_proto(), enough), STUDENTS)
    with pytest.raises(InvalidRequest, match=rf"^sampling.steps: must be 1 to {steps - 1}; got {steps}$"):
        DecodeTask.from_proto(STUDENTS.to_proto(), dataclasses.replace(enough, max_fast_steps=steps - 1))


def test_where_there_is_no_student_none_is_asked() -> None:
    with pytest.raises(PreconditionFailed, match="no student"):
        DecodeTask.from_proto(STUDENTS.to_proto(), StageSpec("clip", DIM, CONTEXT, SIZE))


def test_a_student_that_reads_no_text_needs_nothing_to_be_guided_away_from() -> None:
    spec = StageSpec("clip", DIM, CONTEXT, SIZE, fast=SPEC.fast, ignores_text=True)
    bare = DecodeTask(embedding(), None, 6, SamplingSettings("ddim", 2, 2.5), fast=True)
    assert same(DecodeTask.from_proto(bare.to_proto(), spec), bare)


def test_what_a_task_leaves_out_is_left_out() -> None:
    bare: list[Task] = [
        SampleTask(text(3), None, 1, SamplingSettings("ddpm", 2)),
        DecodeTask(embedding(), text(1), 1, SETTINGS),
        InvertTask(picture_file(), embedding(), text(1), 9),
        UpsampleTask(pixels(4), 1, SamplingSettings("ddpm", 2)),
    ]
    assert all(same(there(task), task) for task in bare)


def test_an_inversion_comes_with_its_pictures_pixels_and_says_what_it_is_compared_with() -> None:
    task, picture = InvertTask.from_proto(INVERT.to_proto(), SPEC)
    assert np.array_equal(picture, to_pixels(Image.open(io.BytesIO(INVERT.image))))
    noise = pixels(SIZE)
    asked = SamplingSettings("ddim", 9)
    expected = DecodeTask(task.embedding, task.unconditional_text, 0, asked, start_noise=noise, width=SIZE, height=SIZE)
    assert same(task.reconstruction(noise), expected)


def test_samples_may_be_latents_of_sizes_that_the_model_makes() -> None:
    sizes = Sizes(multiple=16, smallest=16, largest=64, max_pixels=2048)
    spec = StageSpec("clip", DIM, CONTEXT, 32, sizes=sizes, channels=4, scale=8, ignores_text=True)
    noise = RANDOM.standard_normal((4, 2, 6)).astype(np.float32)
    large = DecodeTask(
        embedding(), None, 0, SETTINGS, start_noise=noise, unconditional_embedding=embedding(), width=48, height=16
    )
    assert same(DecodeTask.from_proto(large.to_proto(), spec), large)
    latents = UpsampleTask(10 * noise, 0, SamplingSettings(guidance_scale=1))
    assert same(UpsampleTask.from_proto(latents.to_proto(), spec), latents)
    inverted, picture = InvertTask.from_proto(
        InvertTask(picture_file(), embedding(), None, 3, width=48, height=16).to_proto(), spec
    )
    assert (inverted.width, inverted.height, picture.shape) == (48, 16, (3, 16, 48))
    for width, height, said in [
        (48, None, "height: must be set where width is"),
        (40, 16, "multiples of 16 from 16 to 64 px, 2048 pixels together at most; got 40 x 16"),
        (64, 64, "got 64 x 64"),
    ]:
        wrong = dataclasses.replace(large, start_noise=None, width=width, height=height)
        with pytest.raises(InvalidRequest, match=said):
            DecodeTask.from_proto(wrong.to_proto(), spec)
    with pytest.raises(InvalidRequest, match=r"sample.shape: must be .*got \[4, 9, 9\]"):
        UpsampleTask.from_proto(dataclasses.replace(latents, sample=np.zeros((4, 9, 9), np.float32)).to_proto(), spec)
    with pytest.raises(InvalidRequest, match="width: and height must be 8, all that this model makes; got 16 x 16"):
        DecodeTask.from_proto(dataclasses.replace(DECODE, width=16, height=16).to_proto(), SPEC)


def test_a_decoder_that_reads_no_text_needs_what_guidance_steers_away_from() -> None:
    spec = StageSpec("clip", DIM, CONTEXT, SIZE, ignores_text=True)
    bare = DecodeTask(embedding(), None, 0, SETTINGS)
    with pytest.raises(InvalidRequest, match="unconditional_embedding"):
        DecodeTask.from_proto(bare.to_proto(), spec)
    with pytest.raises(InvalidRequest, match="unconditional_text"):
        DecodeTask.from_proto(bare.to_proto(), SPEC)
    alone = dataclasses.replace(bare, sampling=SamplingSettings(guidance_scale=1))
    assert same(DecodeTask.from_proto(alone.to_proto(), spec), alone)


def test_a_decoder_with_a_text_encoder_of_its_own_reads_its_states_alone() -> None:
    spec = dataclasses.replace(SPEC, states_width=9)
    states = RANDOM.standard_normal((CONTEXT, 9), np.float32)
    read = dataclasses.replace(text(2), decoder_states=states)
    task = DecodeTask(embedding(), read, 0, SETTINGS, text=read)
    assert same(DecodeTask.from_proto(task.to_proto(), spec), task)
    with pytest.raises(InvalidRequest, match="decoder_states"):
        DecodeTask.from_proto(dataclasses.replace(task, text=text(2)).to_proto(), spec)
    huge = dataclasses.replace(read, decoder_states=1e5 * np.ones_like(states))
    with pytest.raises(InvalidRequest, match=r"text\.decoder_states\.data: must be -10000 to 10000"):
        DecodeTask.from_proto(dataclasses.replace(task, text=huge).to_proto(), spec)


def test_what_is_no_number_is_compared_with_nothing() -> None:
    picture = np.zeros((3, 2, 2), np.float32)
    assert np.isnan(psnr(np.full_like(picture, np.nan), picture))
    assert psnr(picture, picture) == 100


FAMILIES = [(768, None), (1280, None), (768, 1024)]  # Karlo, Kandinsky, Stable unCLIP


@pytest.mark.parametrize(("dim", "own"), FAMILIES)
def test_as_many_captions_as_a_call_may_have_fit_an_answer(dim: int, own: int | None) -> None:
    encodings = [TextEncoding.blank(dim, 77, dim, own).to_proto()] * MAX_CAPTIONS
    assert encoder_pb2.EncodeTextResponse(encodings=encodings).ByteSize() < MAX_ANSWER


@pytest.mark.parametrize(("dim", "own"), FAMILIES)
def test_a_prior_has_room_for_two_encodings_of_every_family_and_is_sent_what_it_reads(
    dim: int, own: int | None
) -> None:
    encoding = TextEncoding.blank(dim, 77, dim, own)
    sent = SampleTask(encoding, encoding, 1, SETTINGS).to_proto()
    assert not any(each.HasField("decoder_states") for each in (sent.text, sent.unconditional_text))
    whole = prior_pb2.SampleRequest(text=encoding.to_proto(), unconditional_text=encoding.to_proto())
    assert max(sent.ByteSize(), whole.ByteSize()) < Settings(checkpoint="none").max_request_bytes

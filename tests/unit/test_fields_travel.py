"""No field of a public request is lost on its way: client, message, plan, recipe in a file, replay."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
from google.protobuf.message import Message
from PIL import Image

from gateway.requests.planning import plan_of
from gateway.requests.recipes import Maker, recipe_text_of
from gateway.stack import FastWay, StackInfo
from tests.unit.everything import EVERYTHING
from tests.unit.gateway_plans import INFO
from unclip import enum_names
from unclip.api.decoder.v1 import decoder_pb2, upsampler_pb2
from unclip.api.gateway.v1 import gateway_pb2
from unclip.api.prior.v1 import prior_pb2
from unclip.api.type.v1 import model_info_pb2, sampling_pb2
from unclip.client import Embedding, Generate, Recipe, Request, Sampling
from unclip.client.messages import embed_message, recipe_of, stream_message
from unclip.client.recipes import complete
from unclip.client.values import KINDS, Embed
from unclip.errors import InvalidRequest
from unclip.options import SamplingSettings
from unclip.wire.by_name import wire_name
from unclip.wire.enums import ENUMS
from unclip.wire.recipe_rules import NOT_IN_RECIPES
from unclip.wire.recipe_text import read_text, write_text
from unclip.wire.tasks import DecodeTask, InvertTask, SampleTask, UpsampleTask

STACK: StackInfo = replace(
    INFO,
    fast=FastWay(SamplingSettings("ddim", 4, 3.0), SamplingSettings("ddpm", 1, 1.0)),
    model=model_info_pb2.ModelInfo(
        name="tiny",
        clip_space="space",
        stages=[
            model_info_pb2.StageInfo(
                stage=sampling_pb2.STAGE_DECODER,
                image_size=16,
                sizes=model_info_pb2.Sizes(multiple=16, smallest=16, largest=64, max_pixels=4096),
            ),
            model_info_pb2.StageInfo(stage=sampling_pb2.STAGE_UPSAMPLER, image_size=16),
        ],
    ),
)
MAKER = Maker("v1", {"decoder": "d1"})


def png(pixels: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


SOURCES: dict[str, bytes] = {
    "image": png(np.full((8, 8, 3), 90, np.uint8)),
    "to": png(np.full((8, 8, 3), 200, np.uint8)),
    "mask": png(np.where(np.arange(64).reshape(8, 8) % 8 < 4, 0, 255).astype(np.uint8)),
}


def with_sources(value: Request) -> Request:
    """``value`` with pictures that the gateway takes."""
    given: dict[str, Any] = {name: file for name, file in SOURCES.items() if getattr(value, name, None) is not None}
    return replace(value, **given)


def inner(message: gateway_pb2.StreamRequest) -> Message:
    found: Message = getattr(message, message.WhichOneof("request") or "")
    return found


def names(message: type[Message]) -> set[str]:
    return {field.name for field in message.DESCRIPTOR.fields}


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_has_the_fields_of_its_message_and_no_others(kind: str) -> None:
    asked = gateway_pb2.StreamRequest.DESCRIPTOR.fields_by_name[kind].message_type
    assert asked is not None
    assert {wire_name(field) for field in dataclasses.fields(KINDS[kind])} == {field.name for field in asked.fields}


def test_every_kind_of_request_has_its_value() -> None:
    fields = gateway_pb2.StreamRequest.DESCRIPTOR.oneofs_by_name["request"].fields
    assert {field.name for field in fields} == set(KINDS)
    assert {field.name for field in dataclasses.fields(Embed)} == names(gateway_pb2.EmbedRequest)
    assert {field.name for field in dataclasses.fields(Sampling)} == names(sampling_pb2.SamplingOptions)


def test_the_requests_of_these_tests_say_every_field_that_there_is() -> None:
    said: dict[str, set[str]] = {}
    for value in EVERYTHING.values():
        message = stream_message(value)
        found = {field.name for field, _ in inner(message).ListFields()}
        said.setdefault(message.WhichOneof("request") or "", set()).update(found)
    assert said == {
        kind: {field.name for field in gateway_pb2.StreamRequest.DESCRIPTOR.fields_by_name[kind].message_type.fields}  # type: ignore[union-attr]
        for kind in KINDS
    }


@pytest.mark.parametrize("name", EVERYTHING)
@pytest.mark.parametrize("row", [0, 1])
def test_what_a_client_says_comes_back_from_the_file_of_each_picture(name: str, row: int) -> None:
    """The file's recipe is the value again, for one picture alone, but for what no recipe has."""
    value = with_sources(EVERYTHING[name])
    plan = plan_of(stream_message(value), STACK, nested=True)
    if row >= len(plan.seeds):
        return
    recipe = recipe_of(read_text(write_text(recipe_text_of(plan, row, MAKER)), "picture"))
    expected: dict[str, Any] = {"image": None, "to": None, "mask": None, "image_count": 1}
    expected |= {"seed": plan.seeds[row], "candidates": None, "report_psnr": False}
    for frames in ("thetas", "ts"):
        if shares := getattr(value, frames, ()):
            expected[frames] = (shares[row],)
    for field in dataclasses.fields(value):
        asked, told = getattr(value, field.name), getattr(recipe.request, field.name)
        said = asked is not None and asked != field.default
        if field.name in expected:
            assert told == expected[field.name] or not said, field.name
        elif said and isinstance(asked, Sampling):
            for part in dataclasses.fields(Sampling):
                want = getattr(asked, part.name)
                assert want is None or getattr(told, part.name) == want, (field.name, part.name)
        elif said:
            assert told == asked, field.name
    given = [file for source, file in SOURCES.items() if getattr(value, source, None) is not None]
    assert recipe.source_digests == tuple(hashlib.sha256(file).hexdigest() for file in given)

    again = complete(recipe, given)
    replayed = plan_of(stream_message(again), STACK, nested=True)
    assert recipe_text_of(replayed, 0, MAKER) == recipe_text_of(plan, row, MAKER)


def test_a_recipe_is_told_nothing_that_only_measures_or_chooses() -> None:
    told = {field.name for value in EVERYTHING.values() for field in dataclasses.fields(value)}
    assert set(NOT_IN_RECIPES) <= told


def test_fields_that_a_newer_client_sends_are_no_part_of_a_recipe() -> None:
    newer = gateway_pb2.StreamRequest(generate=gateway_pb2.GenerateRequest(caption="a cat"))
    newer.generate.MergeFromString(b"\xc2\x3e\x01x")  # field 1000
    newer.generate.decoder.MergeFromString(b"\xc2\x3e\x01x")
    text = recipe_text_of(plan_of(newer, STACK, nested=True), 0, MAKER).request.SerializeToString()
    assert b"\xc2\x3e" not in text


@pytest.mark.parametrize("literal", ["FileFormat", "Fit", "NoticeKind", "Quality", "SamplerName", "StageName", "Start"])
def test_each_enum_has_one_map_between_its_names_and_numbers(literal: str) -> None:
    spelled = get_args(getattr(enum_names, literal))
    [mapped] = [each for each in ENUMS.values() if tuple(each.numbers) == spelled]
    assert len(mapped.members) == len(spelled) + 1
    assert {number: name for name, number in mapped.numbers.items()} == dict(mapped.names)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (SampleTask, prior_pb2.SampleRequest),
        (DecodeTask, decoder_pb2.DecodeRequest),
        (InvertTask, decoder_pb2.InvertRequest),
        (UpsampleTask, upsampler_pb2.UpsampleRequest),
    ],
)
def test_a_stages_task_has_the_fields_of_its_message(task: Any, message: type[Message]) -> None:
    assert {wire_name(field) for field in dataclasses.fields(task)} | {"omit_progress"} == names(message)


def test_embeddings_are_asked_for_with_every_field() -> None:
    message = embed_message(Embed(["a cat"], [SOURCES["image"]], fit="letterbox"))
    assert {field.name for field, _ in message.ListFields()} == names(gateway_pb2.EmbedRequest)


def test_a_recipe_whose_request_is_another_clips_embedding_is_still_read() -> None:
    value = Generate("a cat", seed=3, embedding=Embedding(np.ones(3, np.float32), "other"))
    recipe = Recipe(value, "v1")
    assert complete(recipe, []) == value
    with pytest.raises(InvalidRequest):
        complete(recipe, [3])  # type: ignore[list-item]

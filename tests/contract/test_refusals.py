"""Whatever breaks a rule is refused with the field, the limit and the value, and the next sound request is served."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from tests.contract.bad_requests import Bad, every, put
from tests.contract.refusals import Refusal, refusal
from tests.contract.requests import FEW, sound, tensor
from tests.contract.services import METHODS, Method, Services
from tests.contract.toys import TOYS
from unclip.api.type.v1 import image_pb2

FAMILIES = tuple(TOYS)
INVALID = grpc.StatusCode.INVALID_ARGUMENT
CANNOT = grpc.StatusCode.FAILED_PRECONDITION


def at_home(request: Any, space: str) -> None:
    """Puts the text encodings in ``request`` into ``space``, as if its CLIP had made them."""
    for name in ("text", "unconditional_text"):
        if name in request.DESCRIPTOR.fields_by_name and request.HasField(name):
            getattr(request, name).embedding.clip_space = space


def refused(services: Services, method: Method, request: Any) -> Refusal:
    return refusal(lambda: services.ask(method, request))


CASES = [pytest.param(name, bad, id=f"{name}-{bad}") for name, toy in TOYS.items() for bad in every(toy)]


@pytest.mark.parametrize(("toy", "bad"), CASES, indirect=["toy"], scope="module")
def test_what_breaks_a_rule_is_refused_and_the_next_is_served(services: Services, bad: Bad) -> None:
    request = sound(services, bad.method)
    bad.spoil(request)
    at_home(request, services.text("").embedding.clip_space)
    told = refused(services, bad.method, request)
    assert (told.code, told.domain, told.reason) == (INVALID, "unclip", "INVALID_REQUEST")
    assert list(told.violations) == [bad.field]
    description = told.violations[bad.field]
    assert not [word for word in bad.words if word not in description], description
    assert f"{bad.field}: {description}" in told.message
    assert services.ask(bad.method, sound(services, bad.method))


def test_every_broken_rule_of_a_request_is_told_at_once(services: Services) -> None:
    sample = sound(services, "sample")
    sample.sampling.steps, sample.sampling.guidance_scale, sample.sampling.eta = 0, 31, 2
    sample.candidates = 99
    sample.text.token_states.ClearField("data")
    sample.unconditional_text.token_mask.ClearField("shape")
    assert set(refused(services, "sample", sample).violations) == {
        "sampling.steps", "sampling.guidance_scale", "sampling.eta", "candidates",
        "text.token_states.data", "unconditional_text.token_mask.shape",
    }  # fmt: skip

    decode = sound(services, "decode")
    decode.sampling.steps, decode.preview_interval = 1001, -1
    decode.start_noise.CopyFrom(tensor(*services.toy.base[:2], 5))
    away = "unconditional_embedding" if services.toy.model.ignores_text else "unconditional_text.embedding"
    decode.ClearField(away.split(".", maxsplit=1)[0])
    decode.embedding.values.ClearField("data")
    assert set(refused(services, "decode", decode).violations) == {
        "sampling.steps", "preview_interval", "start_noise.shape",
        f"{away}.values.data_type", "embedding.values.data",
    }  # fmt: skip

    invert = sound(services, "invert")
    invert.steps, invert.image.data = 0, b"no picture"
    invert.embedding.values.ClearField("data")
    assert set(refused(services, "invert", invert).violations) == {"steps", "image.data", "embedding.values.data"}

    upsample = sound(services, "upsample")
    upsample.sampling.CopyFrom(FEW)
    upsample.sampling.eta = -1
    upsample.sample.shape[0] = 1
    assert set(refused(services, "upsample", upsample).violations) == {
        "sampling.guidance_scale", "sampling.eta", "sample.shape",
    }  # fmt: skip

    texts = sound(services, "encode_text")
    texts.captions.extend(["x" * 5000, "\x00"])
    assert set(refused(services, "encode_text", texts).violations) == {"captions[2]", "captions[3]"}

    images = sound(services, "encode_image")
    images.images.extend([image_pb2.Image(data=b"x"), image_pb2.Image()])
    assert set(refused(services, "encode_image", images).violations) == {"images[2].data", "images[3].data"}


@pytest.mark.parametrize(
    ("method", "place"),
    [
        ("sample", "text.embedding"),
        ("sample", "unconditional_text.embedding"),
        ("decode", "embedding"),
        ("decode", "text.embedding"),
        ("decode", "unconditional_text.embedding"),
        ("invert", "embedding"),
        ("invert", "unconditional_text.embedding"),
    ],
)
@pytest.mark.parametrize("space", ["0" * 64, ""])
def test_an_embedding_of_another_clip_is_refused(services: Services, method: Method, place: str, space: str) -> None:
    request = sound(services, method)
    put(f"{place}.clip_space", space)(request)
    if services.toy.states and method != "sample" and place != "embedding":
        assert services.ask(method, request)  # its decoder has a text encoder of its own, whose states name no CLIP
        return
    told = refused(services, method, request)
    assert (told.code, told.domain, told.reason) == (CANNOT, "unclip", "PRECONDITION_FAILED")
    [(subject, description)] = told.preconditions.items()
    assert subject == f"{place}.clip_space"
    assert services.text("").embedding.clip_space[:12] in description
    assert services.ask(method, sound(services, method))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "data", [b"\x0a\x05ab", b"\xff\xff\xff", b"\x0a\xff\xff\xff\xff\x0f"], ids=["cut", "tag", "length"]
)
def test_bytes_that_are_no_message_are_refused(services: Services, method: Method, data: bytes) -> None:
    told = refusal(lambda: services.send_bytes(method, data))
    assert (told.code, told.domain, told.reason) == (INVALID, "unclip", "INVALID_REQUEST")
    assert list(told.violations) == ["request"]
    assert services.ask(method, sound(services, method))


def test_text_that_is_not_utf8_is_refused(services: Services) -> None:
    told = refusal(lambda: services.send_bytes("encode_text", b"\x0a\x02\xc3\x28"))
    assert (told.code, list(told.violations)) == (INVALID, ["request"])
    assert "UTF-8" in told.violations["request"]


@pytest.mark.parametrize("method", METHODS)
def test_a_refusal_carries_the_request_id(services: Services, method: Method) -> None:
    request = sound(services, method)
    spoil = {"encode_text": put("captions", []), "encode_image": put("images", []), "invert": put("steps", 0)}
    spoil.get(method, put("sampling.steps", 0))(request)
    assert refused(services, method, request).request_id

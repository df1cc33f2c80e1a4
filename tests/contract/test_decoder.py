"""Decoder, inversion and upsampler: what their pictures follow from, and what can be seen on the way."""

from __future__ import annotations

import io
from typing import Any
from unittest.mock import patch

import grpc
import numpy as np
import pytest
from PIL import Image

from tests.contract.bad_edits import mask_of
from tests.contract.refusals import refusal
from tests.contract.requests import image, noise, picture, sound, tensor
from tests.contract.services import OTHER, SAME, Services, array, gap
from tests.contract.toys import TOYS
from tests.tiny import WIDTH
from unclip.api.decoder.v1 import decoder_pb2, upsampler_pb2
from unclip.api.type.v1 import sampling_pb2, tensor_pb2
from unclip.engine.admission import Expected, Reservation
from unclip.engine.engine import Engine
from unclip.wire import tensors
from unclip.wire.images import decode_image, fit, psnr, to_pixels

FAMILIES = tuple(TOYS)


def previews(services: Services, interval: int, steps: int = 5) -> list[decoder_pb2.DecodeResponse]:
    request = sound(services, "decode")
    request.sampling.steps, request.preview_interval = steps, interval
    return [answer for answer in services.ask("decode", request) if answer.HasField("preview")]


def test_a_decoded_picture_lies_in_range(services: Services) -> None:
    made = services.result("decode", sound(services, "decode"))
    if services.toy.latents:
        made = services.result("upsample", upsampler_pb2.UpsampleRequest(sample=tensors.to_proto(made)))
    assert np.abs(made).max() <= 1


def test_previews_come_only_when_asked_for(services: Services) -> None:
    assert previews(services, 0) == []
    assert len(previews(services, 1)) == 4  # the last step's is the picture itself
    assert len(previews(services, 2)) == 2
    assert previews(services, 1000) == []


def test_a_preview_is_a_small_file_with_a_pixel_for_each_element(services: Services) -> None:
    for answer in previews(services, 1):
        opened = Image.open(io.BytesIO(answer.preview.data))
        assert opened.size == (answer.preview.width, answer.preview.height) == services.toy.base[1:]
        assert Image.MIME[opened.format or ""] == answer.preview.media_type
        assert len(answer.preview.data) < 10_000


def test_previews_show_what_is_known(services: Services) -> None:
    request = sound(services, "decode")
    request.sampling.steps, request.preview_interval = 5, 1
    side = services.toy.model.base_size
    left = np.arange(side) < side // 2
    white = np.ones((3, side, side), "<f4")
    request.known.pixels.CopyFrom(noise(side))
    request.known.pixels.data = white.tobytes()
    request.known.mask.CopyFrom(mask_of(np.broadcast_to(left, (side, side))))
    shown = [answer.preview for answer in services.ask("decode", request) if answer.HasField("preview")]
    assert len(shown) == 4
    for preview in shown if not services.toy.latents else ():  # of random networks latents tell no colours
        values = np.asarray(Image.open(io.BytesIO(preview.data)).convert("RGB"))
        assert values[:, : side // 4].min() > 200  # WebP loses some, and blurs the seam
        assert values[:, side // 2 :].mean() < 230


def test_watching_changes_nothing(services: Services) -> None:
    request = sound(services, "decode")
    silent = services.result("decode", request)
    request.preview_interval = 1
    assert gap(silent, services.result("decode", request)) < SAME


def test_the_unconditional_text_takes_the_place_of_none(services: Services) -> None:
    request = sound(services, "decode")
    request.text.CopyFrom(request.unconditional_text)
    given = services.result("decode", request)
    request.ClearField("text")
    assert gap(given, services.result("decode", request)) < SAME


def test_embedding_text_and_guidance_matter(services: Services) -> None:
    request = sound(services, "decode")
    first = services.result("decode", request)
    request.embedding.values.CopyFrom(tensor(WIDTH))
    assert gap(first, services.result("decode", request)) > OTHER
    request = sound(services, "decode")
    request.text.CopyFrom(services.text("a dog"))
    assert (gap(first, services.result("decode", request)) < SAME) == services.toy.model.ignores_text
    request = sound(services, "decode")
    request.sampling.guidance_scale = 1
    assert gap(first, services.result("decode", request)) > OTHER


def test_from_given_noise_only_what_adds_noise_needs_the_seed(services: Services) -> None:
    request = sound(services, "decode")
    request.start_noise.CopyFrom(tensor(*services.toy.base))
    request.sampling.steps = 4

    def differs(sampler: sampling_pb2.Sampler.ValueType, eta: float) -> bool:
        request.sampling.sampler, request.sampling.eta = sampler, eta
        request.seed = 1
        one = services.result("decode", request)
        request.seed = 2
        return gap(one, services.result("decode", request)) > SAME

    assert not differs(sampling_pb2.SAMPLER_DDIM, 0)
    assert not differs(sampling_pb2.SAMPLER_DPMPP_2M, 0)
    assert differs(sampling_pb2.SAMPLER_DDIM, 1)
    assert differs(sampling_pb2.SAMPLER_DDPM, 0)


def test_the_given_noise_matters(services: Services) -> None:
    request = sound(services, "decode")
    request.start_noise.CopyFrom(tensor(*services.toy.base, seed=1))
    one = services.result("decode", request)
    request.start_noise.CopyFrom(tensor(*services.toy.base, seed=2))
    assert gap(one, services.result("decode", request)) > OTHER


def test_a_decoder_without_a_student_says_that_it_has_none(services: Services) -> None:
    if services.toy.model.fast is not None:
        return  # of these, test_fast
    request = sound(services, "decode")
    request.fast = True
    told = refusal(lambda: services.ask("decode", request))
    assert told.code == grpc.StatusCode.FAILED_PRECONDITION
    assert "no student" in told.preconditions["fast"]
    for _, model in services.infos():
        assert model.quality == sampling_pb2.QUALITY_UNSPECIFIED
        assert not model.stages[0].HasField("fast")


@pytest.mark.parametrize("tokens", [1, 512])
def test_texts_of_any_length_up_to_512_tokens_are_decoded(services: Services, tokens: int) -> None:
    request = sound(services, "decode")
    for text in (request.text, request.unconditional_text):
        text.token_states.CopyFrom(tensor(tokens, WIDTH))
        if services.toy.states:
            text.decoder_states.CopyFrom(tensor(tokens, services.toy.states))
        mask = tensor_pb2.Tensor(data_type=tensor_pb2.DATA_TYPE_BOOL, shape=[tokens], data=b"\1" * tokens)
        text.token_mask.CopyFrom(mask)
    assert np.isfinite(services.result("decode", request)).all()


def test_an_inversion_takes_the_decoders_default_of_steps(services: Services) -> None:
    request = sound(services, "invert")
    request.ClearField("steps")
    told = [answer.progress.of for answer in services.ask("invert", request) if answer.HasField("progress")]
    assert set(told) == {services.toy.steps("invert", services.toy.defaults("decoder").steps)}


@pytest.mark.parametrize("toy", [name for name in FAMILIES if TOYS[name].make], indirect=True, scope="module")
def test_an_inversion_is_let_in_as_all_the_passes_that_it_will_take(services: Services) -> None:
    """Not as one step, which every deadline has time for."""
    request, lengths = sound(services, "invert"), list[list[int]]()
    reserve = Engine.reserve

    def noted(engine: Engine, rows: int = 1, client: str = "", *expected: Expected, **more: str) -> Reservation:
        lengths.append([job.length for job in expected])
        return reserve(engine, rows, client, *expected, **more)

    default = services.toy.defaults("decoder").steps
    with patch.object(Engine, "reserve", noted):
        request.steps = 3
        services.ask("invert", request)
        request.report_psnr = True
        services.ask("invert", request)
        request.ClearField("steps")
        services.ask("invert", request)
    assert lengths == [[2 * 3], [2 * 3, 3], [2 * default, default]]


def test_an_inversion_follows_from_the_picture_at_any_size(services: Services) -> None:
    request = sound(services, "invert")
    one = services.result("invert", request)
    request.image.CopyFrom(image(picture("blue", 700, 300)))
    other = services.result("invert", request)
    assert np.isfinite(other).all()
    assert gap(one, other) > OTHER


@pytest.mark.parametrize("steps", [1, 4])
def test_the_accuracy_reported_is_that_of_decoding_the_noise_found(services: Services, steps: int) -> None:
    asked = sound(services, "invert")
    asked.steps, asked.report_psnr = steps, True
    answers: list[decoder_pb2.InvertResponse] = services.ask("invert", asked)
    told = [(a.progress.step, a.progress.of) for a in answers if a.HasField("progress")]
    assert told[-1] == (3 * steps, 3 * steps)  # two passes a step there, one back
    assert [step for step, _ in told] == sorted(step for step, _ in told)
    decode = decoder_pb2.DecodeRequest(
        embedding=asked.embedding, unconditional_text=asked.unconditional_text, start_noise=answers[-1].start_noise
    )
    decode.sampling.CopyFrom(
        sampling_pb2.SamplingOptions(sampler=sampling_pb2.SAMPLER_DDIM, steps=steps, guidance_scale=1, eta=0)
    )
    assert 0 < answers[-1].psnr <= 100
    if not services.toy.latents:  # of those, nobody outside sees what was inverted
        source = to_pixels(fit(decode_image(asked.image, "image"), services.toy.model.base_size))
        assert answers[-1].psnr == pytest.approx(psnr(services.result("decode", decode), source), abs=0.01)


def test_measuring_changes_no_noise_and_is_left_out_when_not_asked_for(services: Services) -> None:
    request = sound(services, "invert")
    plain = services.ask("invert", request)[-1]
    request.report_psnr = True
    measured = services.ask("invert", request)[-1]
    assert not plain.HasField("psnr")
    assert gap(array(plain.start_noise), array(measured.start_noise)) < SAME


def test_measuring_takes_two_places(shared: Services) -> None:
    def begin(client: str, steps: int, measured: bool) -> Any:
        request = sound(shared, "invert")
        request.steps, request.report_psnr = steps, measured
        return shared.begin("invert", request, metadata=[("x-unclip-client", client)])

    running = [begin(client, 1000, measured=False) for client in ("one", "one", "two")]  # of four
    for call in running:
        next(call)
    with pytest.raises(grpc.RpcError) as refused:
        list(begin("three", 2, measured=True))
    assert isinstance(refused.value, grpc.Call)
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert list(begin("three", 2, measured=False))
    for call in running:
        call.cancel()


def test_what_takes_more_places_than_there_are_is_served_when_nothing_else_is(narrow: Services) -> None:
    request = sound(narrow, "invert")
    request.report_psnr = True
    assert narrow.ask("invert", request)


def test_what_was_inverted_can_be_decoded(services: Services) -> None:
    answer: decoder_pb2.InvertResponse = services.ask("invert", sound(services, "invert"))[-1]
    request = sound(services, "decode")
    request.start_noise.CopyFrom(answer.start_noise)
    assert np.isfinite(services.result("decode", request)).all()


def test_a_picture_too_large_to_be_read_beside_other_calls_is_inverted_as_a_small_one_is(services: Services) -> None:
    found = []
    for side in (1100, 100):
        request = sound(services, "invert")
        request.image.CopyFrom(image(Image.new("RGB", (side, side), "red")))
        found.append(tensors.from_proto(services.ask("invert", request)[-1].start_noise, "start_noise"))
    assert gap(*found) < SAME


def test_an_upsampled_picture_lies_in_range_and_follows_from_the_base(services: Services) -> None:
    request = sound(services, "upsample")
    one = services.result("upsample", request)
    assert np.abs(one).max() <= 1
    request.sample.CopyFrom(tensor(*services.toy.base, seed=5))
    assert gap(one, services.result("upsample", request)) > OTHER


@pytest.mark.parametrize("side", [1, 7, 32])
def test_any_square_up_to_the_final_size_is_upsampled(services: Services, side: int) -> None:
    if services.toy.latents:
        side = 16 if side == 32 else 8
    request = sound(services, "upsample")
    request.sample.CopyFrom(tensor(services.toy.base[0], side, side))
    assert np.isfinite(services.result("upsample", request)).all()

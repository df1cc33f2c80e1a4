"""Width and height of what is painted: read from requests, fitted into, and counted by their pixels."""

from __future__ import annotations

import io
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gateway.admission.control import MARGIN_S, Admission, Ticket
from gateway.admission.unread import METADATA_BYTES, largest_answer
from gateway.admission.workload import StageLoad, Workload, workload_of
from gateway.capabilities.dispatch import asks_prior, capabilities_of
from gateway.requests.fitting import MAX_FITTED, SQUARE, Subject, around, bounded, cropped, inside, letterbox
from gateway.requests.plan import EditPlan, GeneratePlan, Plan
from gateway.requests.planning import plan_of
from gateway.requests.recipes import recipe
from gateway.stages.answers import LATENTS, PIXELS, sample_from
from tests.unit.gateway_plans import INFO, png
from unclip.api.gateway.v1 import gateway_pb2
from unclip.api.type.v1 import model_info_pb2, sampling_pb2
from unclip.errors import InvalidRequest, Overloaded, PreconditionFailed
from unclip.serving.load_report import Cost
from unclip.wire import tensors

OWN = 64
SIZES = model_info_pb2.Sizes(multiple=32, smallest=32, largest=2048, max_pixels=2**21)
DECODER = model_info_pb2.StageInfo(stage=sampling_pb2.STAGE_DECODER, image_size=OWN, sizes=SIZES, ignores_text=True)
UPSAMPLER = model_info_pb2.StageInfo(stage=sampling_pb2.STAGE_UPSAMPLER, image_size=OWN)
PAINTER = replace(INFO, model=model_info_pb2.ModelInfo(name="painter", stages=[DECODER, UPSAMPLER]))
SHAPES = st.tuples(st.integers(1, 24), st.integers(1, 24))


def plan(kind: str, **fields: Any) -> Any:
    request = gateway_pb2.StreamRequest()
    message = getattr(request, kind)
    message.MergeFrom(type(message)(**fields))
    return plan_of(request, PAINTER, nested=False)


def noise(width: int, height: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@given(SHAPES, st.integers(0, 16), st.booleans())
def test_cropping_to_any_shape_keeps_whole_pixels_where_no_resizing_is_needed(
    shape: tuple[int, int], more: int, wider: bool
) -> None:
    width, height = shape[0] + more * wider, shape[1] + more * (not wider)
    pixels, kept = noise(width, height), np.random.default_rng(1).uniform(size=(height, width)) < 0.5
    found = Subject(pixels, kept).cropped(shape).resized(*shape)
    rows = slice((height - shape[1]) // 2, (height - shape[1]) // 2 + shape[1])
    columns = slice((width - shape[0]) // 2, (width - shape[0]) // 2 + shape[0])
    assert (found.pixels == pixels[rows, columns]).all()
    assert (found.kept == kept[rows, columns]).all()


@given(SHAPES, SHAPES, st.integers(1, 40))
def test_what_is_cropped_is_whole_pixels_of_the_picture_and_of_the_shape_but_for_half_a_pixel(
    shape: tuple[int, int], size: tuple[int, int], factor: int
) -> None:
    picture = (factor * size[0], factor * size[1])
    width, height = inside(shape, picture)
    assert 1 <= width <= picture[0]
    assert 1 <= height <= picture[1]
    assert width == picture[0] or height == picture[1]
    exact = min(picture[0] / shape[0], picture[1] / shape[1])
    assert abs(width - max(1, exact * shape[0])) <= 0.5
    assert abs(height - max(1, exact * shape[1])) <= 0.5


@given(SHAPES, SHAPES)
def test_a_letterboxed_subject_is_whole_and_what_is_around_it_is_kept_white(
    shape: tuple[int, int], size: tuple[int, int]
) -> None:
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    found = Subject(pixels, np.zeros(size[::-1], np.bool_)).fitted(shape)
    assert found.kept.shape == shape[::-1]
    assert (found.pixels[found.kept] == 255).all()
    rows, columns = np.nonzero(~found.kept)
    width, height = inside(size, shape)
    assert (columns.max() - columns.min() + 1, rows.max() - rows.min() + 1) == (width, height)
    assert abs((columns.min() + columns.max() + 1) - shape[0]) <= 1
    assert abs((rows.min() + rows.max() + 1) - shape[1]) <= 1


@given(SHAPES, st.tuples(st.integers(1, 5000), st.integers(1, 5000)))
def test_nothing_is_fitted_into_more_than_any_model_sees(shape: tuple[int, int], size: tuple[int, int]) -> None:
    for room in (around(size, shape), inside(shape, size)):
        assert max(bounded(room, shape)) <= MAX_FITTED
        assert max(bounded(room, (64 * shape[0], 64 * shape[1]))) <= max(MAX_FITTED, 64 * max(shape))


def test_a_box_of_a_shape_holds_the_picture_and_a_crop_of_it_fills_it() -> None:
    wide = Image.new("RGB", (60, 10), "red")
    boxed = letterbox(wide, (2, 1))
    assert boxed.size == (60, 30)
    assert [boxed.getpixel((30, y)) for y in (0, 9, 10, 19, 20)] == [
        (255, 255, 255),
        (255, 255, 255),
        (255, 0, 0),
        (255, 0, 0),
        (255, 255, 255),
    ]
    assert cropped(wide, (2, 1)).size == (20, 10)
    assert cropped(wide, SQUARE).size == (10, 10)


@pytest.mark.parametrize(
    ("fit", "seen", "inverted"),
    [(gateway_pb2.FIT_CENTER_CROP, (90, 30), (90, 30)), (gateway_pb2.FIT_LETTERBOX, (90, 90), (90, 180))],
)
def test_clip_sees_a_square_and_the_decoder_the_shape_that_is_painted(fit: Any, seen: Any, inverted: Any) -> None:
    source = plan("vary", image=png(size=(90, 30)), fit=fit, width=32, height=64).image
    sizes = [Image.open(io.BytesIO(file)).size for file in (source.data, source.canvas)]
    assert sizes == [seen, inverted]


def test_a_letterbox_is_made_of_a_square_picture_too_where_no_square_is_painted() -> None:
    source = plan("vary", image=png(size=(30, 30)), fit=gateway_pb2.FIT_LETTERBOX, width=64, height=32).image
    assert Image.open(io.BytesIO(source.canvas)).size == (60, 30)
    same = plan("vary", image=png(size=(30, 30)), fit=gateway_pb2.FIT_LETTERBOX, width=64, height=64).image
    assert same.canvas == same.data == png(size=(30, 30)).data


def test_of_a_large_picture_the_part_travels_that_is_painted_as_large_as_that() -> None:
    source = plan("vary", image=png(size=(3000, 1500)), width=2048, height=1024).image
    assert Image.open(io.BytesIO(source.canvas)).size == (2048, 1024)
    tall = plan("vary", image=png(size=(3000, 1500)), width=32, height=64).image
    assert Image.open(io.BytesIO(tall.canvas)).size == (512, 1024)


@pytest.mark.parametrize("side", [500, 1500])
def test_clip_sees_the_middle_square_of_small_and_large_pictures_whatever_is_painted(side: int) -> None:
    across = np.linspace(0, 255, 2 * side).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(np.tile(across, (side, 1))).save(file, "PNG")
    source = plan("vary", image=type(png())(data=file.getvalue()), width=32, height=64).image
    seen = np.asarray(cropped(Image.open(io.BytesIO(source.data)).convert("RGB")))
    assert abs(int(seen.min()) - 64) <= 2
    assert abs(int(seen.max()) - 191) <= 2


@pytest.mark.parametrize("fit", [gateway_pb2.FIT_CENTER_CROP, gateway_pb2.FIT_LETTERBOX])
@pytest.mark.parametrize("shape", [(96, 32), (32, 64), (64, 64)])
def test_an_edits_subject_fills_what_is_painted(fit: Any, shape: tuple[int, int]) -> None:
    size, asked = (50, 41), {"caption": "a cat", "fit": fit, "width": shape[0], "height": shape[1]}
    found: EditPlan = plan("edit", image=png(size=size), mask=light(size), **asked)
    assert found.subject.kept.shape == shape[::-1]
    if fit == gateway_pb2.FIT_CENTER_CROP:
        assert not found.subject.kept.any()  # no bars, not even of one pixel


def light(size: tuple[int, int]) -> Any:
    file = io.BytesIO()
    Image.new("L", size, 255).save(file, "PNG")
    return type(png())(data=file.getvalue())


def test_a_recipe_has_the_size_that_was_asked_for_and_no_other() -> None:
    asked = recipe(plan("generate", caption="a cat", width=96, height=32), 0).generate
    assert (asked.width, asked.height, asked.HasField("size")) == (96, 32, False)
    silent = recipe(plan("generate", caption="a cat"), 0).generate
    assert not silent.HasField("width")
    assert not silent.HasField("height")


def test_a_refused_size_is_not_what_an_edit_is_fitted_to() -> None:
    """Else who asks for two thousand million pixels a side had them allocated before the refusal."""
    for shape in ({"width": 2**31 - 1, "height": 2**31 - 1}, {"width": 2**31 - 1}, {"height": 4096}):
        with pytest.raises(InvalidRequest):
            plan("edit", caption="a cat", image=png(size=(8, 8)), mask=light((8, 8)), **shape)
    with pytest.raises(PreconditionFailed):
        plan("edit", caption="a cat", image=png(size=(8, 8)), mask=light((8, 8)), width=4096, height=4096)


def test_larger_pictures_count_as_so_many_more_rows_of_decoder_and_upsampler() -> None:
    shape = {"width": 128, "height": 96}
    way = workload_of(plan("generate", caption="a cat", **shape))
    assert (way["prior"].area, way["decoder"].area, way["upsampler"].area) == (1.0, 3.0, 3.0)
    assert way["decoder"].row_steps == 3 * workload_of(plan("generate", caption="a cat"))["decoder"].row_steps
    assert workload_of(plan("vary", image=png(), **shape))["invert"] == StageLoad(1, 1, 2 * 20, 3.0)
    assert workload_of(plan("vary", image=png(), width=32, height=32))["decoder"].area == 0.25


def test_who_asks_for_larger_pictures_is_let_in_less_often() -> None:
    at = {"encoder": "e", "prior": "p", "decoder": "d", "upsampler": "u"}
    admission = Admission(at, lambda service: 1.0, lambda: 0.0)  # type: ignore[arg-type]
    usual: Workload = {"decoder": StageLoad(1, 2, 10)}
    for load in (usual["decoder"], replace(usual["decoder"], area=4.0)):  # what large ones report is worth the same
        for _ in range(20):
            with admission.enter({"decoder": load}, 1e9, "") as ticket:
                ticket.end(ticket.begin("decoder"), Cost(0.5 * load.area, 0.5 * load.area))
    speed = admission.speed("decoder", usual["decoder"])
    assert speed.device == pytest.approx(0.025)
    assert speed.step == pytest.approx(0.05)

    def let_in(area: float) -> int:
        load, entered = replace(usual["decoder"], area=area), list[Ticket]()
        with ExitStack() as tickets, suppress(Overloaded):
            while True:
                entered.append(tickets.enter_context(admission.enter({"decoder": load}, MARGIN_S + 10.0, "")))
        return len(entered)

    assert let_in(1.0) >= 3 * let_in(4.0) > 0
    [small, large] = (
        admission.enter({"decoder": replace(usual["decoder"], area=area)}, 1e9, "") for area in (1.0, 4.0)
    )
    pool = admission.pools["decoder"]
    assert large.work(pool).least == pytest.approx(4 * small.work(pool).least)
    assert large.work(pool).seconds == pytest.approx(4 * small.work(pool).seconds)


def test_room_for_an_answer_is_of_its_pictures_own_shape() -> None:
    made: GeneratePlan = plan("generate", caption="a cat", width=128, height=96, image_count=2)
    assert made.output.filed(OWN) == (128, 96)
    assert largest_answer(made, (128, 96)) == 2 * (round(3.04 * 128 * 96) + METADATA_BYTES)
    with pytest.raises(InvalidRequest, match="of 2048 x 1024 px as png"):
        largest_answer(replace(made, seeds=(1,) * 16), (2048, 1024))


@pytest.mark.parametrize(("guidance", "calls"), [(1.0, 1), (3.0, 2)])
def test_the_prior_imagines_a_negative_caption_where_the_decoder_reads_none(guidance: float, calls: int) -> None:
    options = sampling_pb2.SamplingOptions(guidance_scale=guidance)
    made: GeneratePlan = plan("generate", caption="a cat", negative_caption="a dog", decoder=options, image_count=3)
    assert made.prior_calls == calls
    assert workload_of(made)["prior"].calls == 3 * calls
    reads = replace(PAINTER, model=model_info_pb2.ModelInfo(stages=[UPSAMPLER]))
    request = gateway_pb2.StreamRequest(
        generate=gateway_pb2.GenerateRequest(caption="a cat", negative_caption="a dog", decoder=options)
    )
    told: Plan = plan_of(request, reads, nested=False)
    assert isinstance(told, GeneratePlan)
    assert told.prior_calls == 1


def test_an_embedding_with_a_negative_caption_needs_a_prior_where_the_decoder_reads_no_text() -> None:
    embedding = {"values": tensors.to_proto(np.ones(3, np.float32)), "clip_space": ""}
    plain: GeneratePlan = plan("generate", embedding=embedding)
    steered: GeneratePlan = plan("generate", embedding=embedding, negative_caption="a dog")
    assert (asks_prior(plain), asks_prior(steered)) == (False, True)
    assert "generate" in capabilities_of(steered)


@pytest.mark.parametrize("channels", [1, 3, 4, 64])
def test_samples_and_noise_may_be_latents(channels: int) -> None:
    values = np.zeros((channels, 2, 5), np.float32)
    assert sample_from(tensors.to_proto(values), "sample").shape == (channels, 2, 5)


@pytest.mark.parametrize(("channels", "allowed"), [(65, LATENTS), (1, PIXELS), (4, PIXELS)])
def test_what_an_upsampler_makes_has_three_colours_and_no_sample_more_channels_than_anybody_walks(
    channels: int, allowed: range
) -> None:
    with pytest.raises(InvalidRequest, match=rf"sample.shape: must have .* channels; got \[{channels}, 2, 5\]"):
        sample_from(tensors.to_proto(np.zeros((channels, 2, 5), np.float32)), "sample", allowed)

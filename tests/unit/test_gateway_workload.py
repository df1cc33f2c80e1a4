"""What each kind of request asks of the stages: calls, rows of a pass, steps."""

from __future__ import annotations

from gateway.admission.workload import StageLoad, workload_of
from gateway.requests.plan import EditPlan
from tests.unit.gateway_plans import diff_plan, generate_plan, interpolate_plan, png, vary_plan
from unclip.api.gateway.v1 import gateway_pb2
from unclip.engine.cost import most_together


def test_pictures_of_a_caption_take_candidates_of_the_prior_and_guidance_doubles_rows() -> None:
    way = workload_of(generate_plan(caption="a cat", image_count=3, prior_candidates=2))
    assert way["prior"] == StageLoad(3, 4, 25, samples=2)
    assert (way["decoder"], way["upsampler"]) == (StageLoad(3, 2, 20), StageLoad(3, 1, 7))
    assert list(way) == ["prior", "decoder", "upsampler"]
    assert way["prior"].row_steps == 300


def test_of_a_call_as_many_rows_share_a_pass_as_samples_do() -> None:
    most: dict[str, float] = {"prior": 32, "decoder": 8, "upsampler": 4}
    way = workload_of(generate_plan(caption="a cat", image_count=3, prior_candidates=2), most.__getitem__)
    assert {stage: load.pass_rows for stage, load in way.items()} == {"prior": 64, "decoder": 16, "upsampler": 4}
    assert workload_of(vary_plan(image=png()), most.__getitem__)["invert"].pass_rows == 8


def test_of_pictures_of_other_sizes_as_many_share_a_pass_as_the_engine_puts_there() -> None:
    for max_batch, area in ((8, 0.25), (8, 1.0), (8, 3.0), (8, 4.0), (2, 9.0), (1, 4.0)):
        load = StageLoad(16, 2, 10, area, max_batch=max_batch)
        assert load.pass_rows >= most_together(max_batch, area) * load.usual_rows
        assert load.pass_rows <= 1.5 * most_together(max_batch, area) * load.usual_rows


def test_unguided_steps_are_as_many_as_were_asked_for() -> None:
    way = workload_of(generate_plan(caption="a cat", decoder={"steps": 3, "guidance_scale": 1}, upsampler={"steps": 2}))
    assert (way["decoder"], way["upsampler"]) == (StageLoad(1, 1, 3), StageLoad(1, 1, 2))


def test_variations_share_an_inversion_and_measuring_it_walks_back() -> None:
    way = workload_of(vary_plan(image=png(), image_count=2))
    assert way["invert"] == StageLoad(1, 1, 2 * 20)  # two passes a step
    assert "prior" not in way
    assert workload_of(vary_plan(image=png(), report_psnr=True))["invert"] == StageLoad(1, 1, 3 * 20)
    assert "invert" not in workload_of(vary_plan(image=png(), start=gateway_pb2.START_RANDOM))


def test_a_text_diff_takes_an_inversion_and_a_picture_for_each_frame() -> None:
    way = workload_of(diff_plan(image=png(), before="a cat", after="a dog", thetas=[0.0, 0.2, 0.4]))
    assert (way["invert"].calls, way["decoder"].calls, way["upsampler"].calls) == (1, 3, 3)


def test_an_interpolation_inverts_both_ends_or_asks_the_prior_for_the_other() -> None:
    way = workload_of(interpolate_plan(image=png(), to_image=png()))
    assert way["invert"].calls == 2
    assert "prior" not in way
    imagined = workload_of(interpolate_plan(image=png(), to_caption="a dog"))
    assert imagined["invert"].calls == 1
    assert imagined["prior"].calls == 1


def test_an_edit_takes_every_step_but_the_last_as_often_as_it_resamples() -> None:
    wanted = generate_plan(caption="a cat")
    plan = EditPlan(wanted, None, (), resampling=3)  # type: ignore[arg-type]  # how much is known does not matter
    way = workload_of(plan)
    assert way["decoder"].steps == 19 * 3 + 1
    assert way["upsampler"].steps == 6 * 3 + 1
    assert way["prior"].steps == 25

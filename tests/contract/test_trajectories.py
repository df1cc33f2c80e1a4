"""Whatever walks tells of every step, ends with its result, and makes the same from the same seed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.contract.requests import sound
from tests.contract.services import OTHER, RESULTS, SAME, WALKS, Array, Method, Services, gap, kind
from tests.contract.toys import TOYS
from tests.tiny import WIDTH
from unclip.api.type.v1 import sampling_pb2
from unclip.options import ServiceName
from unclip.wire import enums
from unclip.wire.sampling import sampling_to_proto

STAGES: dict[Method, sampling_pb2.Stage.ValueType] = {
    "sample": sampling_pb2.STAGE_PRIOR,
    "decode": sampling_pb2.STAGE_DECODER,
    "invert": sampling_pb2.STAGE_INVERT,
    "upsample": sampling_pb2.STAGE_UPSAMPLER,
}
FAMILIES = tuple(TOYS)
SEEDED: tuple[Method, ...] = ("sample", "decode", "upsample")
SAMPLERS = list(enums.SAMPLERS.names)


@pytest.mark.parametrize("method", WALKS)
def test_the_result_is_a_finite_float32_tensor(services: Services, method: Method) -> None:
    result = services.result(method, sound(services, method))
    final = services.toy.model.final_size
    shapes = {"sample": (WIDTH,), "upsample": (3, final, final)}
    assert kind(result) == ("float32", shapes.get(method, services.toy.base))
    assert np.isfinite(result).all()


@pytest.mark.parametrize("method", WALKS)
@pytest.mark.parametrize("steps", [1, 7])
def test_progress_rises_to_the_steps_asked_for(services: Services, method: Method, steps: int) -> None:
    request = sound(services, method)
    if method == "invert":
        request.steps = steps
    else:
        request.sampling.steps = steps
    told = [answer.progress for answer in services.ask(method, request) if answer.HasField("progress")]
    of = services.toy.steps(method, steps)
    assert {(p.stage, p.of, p.image_index) for p in told} == {(STAGES[method], of, 0)}
    assert [p.step for p in told if p.queue_position == 0 and p.step] == list(range(1, of + 1))


@pytest.mark.parametrize("method", WALKS)
def test_the_last_message_and_no_other_is_the_result(services: Services, method: Method) -> None:
    events = [answer.WhichOneof("event") for answer in services.ask(method, sound(services, method))]
    assert events[-1] == RESULTS[method]
    assert set(events[:-1]) == {"progress"}


@pytest.mark.parametrize("method", WALKS)
def test_equal_requests_have_equal_answers(services: Services, method: Method) -> None:
    one, other = (services.result(method, sound(services, method)) for _ in range(2))
    assert gap(one, other) < SAME


@pytest.mark.parametrize("method", SEEDED)
def test_another_seed_has_another_answer(services: Services, method: Method) -> None:
    request = sound(services, method)
    one = services.result(method, request)
    request.seed += 1
    assert (gap(one, services.result(method, request)) > OTHER) == (method in services.toy.seeded)


@pytest.mark.parametrize("method", SEEDED)
@pytest.mark.parametrize("seed", [-(2**63), -1, 0, 2**63 - 1])
def test_every_int64_is_a_seed(services: Services, method: Method, seed: int) -> None:
    request = sound(services, method)
    request.seed = seed
    assert np.isfinite(services.result(method, request)).all()


@pytest.mark.parametrize("method", SEEDED)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_walks_in_few_steps_and_in_one(
    services: Services, method: Method, sampler: sampling_pb2.Sampler.ValueType
) -> None:
    request = sound(services, method)
    request.sampling.sampler = sampler
    for steps in (1, 4):
        request.sampling.steps = steps
        assert np.isfinite(services.result(method, request)).all()


@pytest.mark.parametrize("method", SEEDED)
def test_what_a_request_leaves_open_is_as_the_stages_defaults_say(services: Services, method: Method) -> None:
    stages: dict[Method, ServiceName] = {"sample": "prior", "decode": "decoder", "upsample": "upsampler"}
    request = sound(services, method)
    request.ClearField("sampling")
    silent = services.result(method, request)
    request.sampling.CopyFrom(sampling_to_proto(services.toy.defaults(stages[method])))
    assert gap(silent, services.result(method, request)) < SAME


@pytest.mark.parametrize("method", SEEDED)
def test_eta_is_for_ddim_alone(services: Services, method: Method) -> None:
    request = sound(services, method)
    request.sampling.steps = 4

    def with_eta(sampler: sampling_pb2.Sampler.ValueType, eta: float) -> Array:
        request.sampling.sampler, request.sampling.eta = sampler, eta
        return services.result(method, request)

    ddim, ddpm = sampling_pb2.SAMPLER_DDIM, sampling_pb2.SAMPLER_DDPM
    assert (gap(with_eta(ddim, 0), with_eta(ddim, 1)) > OTHER) == (method in services.toy.seeded)
    assert gap(with_eta(ddpm, 0), with_eta(ddpm, 1)) < SAME


@pytest.mark.parametrize("method", SEEDED)
def test_company_changes_nothing(services: Services, method: Method) -> None:
    requests = []
    for seed in range(4):
        request = sound(services, method)
        request.seed, request.sampling.steps = seed, 3 + seed
        requests.append(request)
    with ThreadPoolExecutor(len(requests)) as pool:
        together = list(pool.map(lambda request: services.result(method, request), requests))
    for request, result in zip(requests, together, strict=True):
        assert gap(result, services.result(method, request)) < (SAME if method == "sample" else 2 / 255)


@pytest.mark.parametrize("method", WALKS)
def test_the_request_id_comes_back(services: Services, method: Method) -> None:
    call = services.begin(method, sound(services, method), metadata=[("x-request-id", "req-7")])
    list(call)
    assert ("x-request-id", "req-7") in [tuple(pair) for pair in call.trailing_metadata()]


@pytest.mark.parametrize("method", WALKS)
def test_progress_is_omitted_when_nobody_wants_it(services: Services, method: Method) -> None:
    request = sound(services, method)
    told = services.result(method, request)
    request.omit_progress = True
    [answer] = services.ask(method, request)
    assert answer.WhichOneof("event") == RESULTS[method]
    assert gap(services.result(method, request), told) < SAME

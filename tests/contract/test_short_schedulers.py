"""A scheduler with fewer timesteps than requests may ask of steps, of real services: no stub has one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from tests.contract.conftest import serving
from tests.contract.gateways import gateway_of
from tests.contract.refusals import refusal
from tests.contract.requests import sound
from tests.contract.services import WALKS, Bounds, Method, Services
from tests.contract.toys import TOYS
from tests.tiny import make_tiny_checkpoint, seal
from unclip import Sampling
from unclip.errors import InvalidRequest

STEPS, STUDENTS = 30, 20


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """All stages, each scheduler of STEPS, a student's of STUDENTS."""
    folder = make_tiny_checkpoint(tmp_path_factory.mktemp("short") / "tiny", quality="fast")
    for path in folder.glob("*_scheduler/scheduler_config.json"):
        timesteps = STUDENTS if path.parent.name == "decoder_student_scheduler" else STEPS
        path.write_text(json.dumps({**json.loads(path.read_text()), "num_train_timesteps": timesteps}))
    seal(folder)
    with serving(Bounds(), folder, TOYS["real with a student"]) as services:
        yield services


@pytest.mark.parametrize(("method", "fast"), [*((method, False) for method in WALKS), ("decode", True)])
def test_as_many_steps_are_taken_as_there_are_timesteps_and_no_more(
    short: Services, method: Method, fast: bool
) -> None:
    request, most = sound(short, method), STUDENTS if fast else STEPS
    asked, field = (request, "steps") if method == "invert" else (request.sampling, "sampling.steps")
    if fast:
        request.fast = True
    asked.steps = most
    assert short.result(method, request).size
    asked.steps = most + 1
    refused = refusal(lambda: short.result(method, request))
    assert refused.code is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.violations == {field: f"must be 1 to {most}; got {most + 1}"}


@pytest.mark.parametrize("stage", ["prior", "decoder", "upsampler"])
def test_through_the_gateway_it_is_the_callers_field_that_is_named(short: Services, stage: str) -> None:
    asked: dict[str, Any] = {stage: Sampling(steps=STEPS + 1)}
    with gateway_of(short) as client, pytest.raises(InvalidRequest) as refused:
        client.generate("a cat", quality="standard", **asked)
    [told] = refused.value.violations
    assert (told.field, told.description) == (f"{stage}.steps", f"must be 1 to {STEPS}; got {STEPS + 1}")

"""Known pixels that break a rule are refused with the field, the limit and the value."""

from __future__ import annotations

import pytest

from tests.contract.bad_edits import edits
from tests.contract.bad_requests import Bad
from tests.contract.refusals import refusal
from tests.contract.requests import sound
from tests.contract.services import Services
from tests.contract.test_refusals import INVALID
from tests.contract.toys import TOYS

CASES = [pytest.param(name, bad, id=f"{name}-{bad}") for name, toy in TOYS.items() for bad in edits(toy)]


@pytest.mark.parametrize(("toy", "bad"), CASES, indirect=["toy"], scope="module")
def test_known_pixels_that_break_a_rule_are_refused(services: Services, bad: Bad) -> None:
    request = sound(services, bad.method)
    bad.spoil(request)
    told = refusal(lambda: services.ask(bad.method, request))
    assert (told.code, told.domain, told.reason) == (INVALID, "unclip", "INVALID_REQUEST")
    assert list(told.violations) == [bad.field]
    description = told.violations[bad.field]
    assert not [word for word in bad.words if word not in description], description
    assert services.ask(bad.method, sound(services, bad.method))

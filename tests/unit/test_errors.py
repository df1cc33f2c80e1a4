"""Errors travel between processes whole."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator

import pytest

from unclip import errors
from unclip.errors import FieldViolation, InvalidRequest, Overloaded, PreconditionFailed, ReplicaLost, UnclipError


def kinds(base: type[UnclipError] = UnclipError) -> Iterator[type[UnclipError]]:
    yield base
    for kind in base.__subclasses__():
        yield from (found for found in kinds(kind) if found.__module__ == errors.__name__)


MADE: dict[type[UnclipError], UnclipError] = {
    InvalidRequest: InvalidRequest([FieldViolation("a", "must be 1"), FieldViolation("b", "must be 2")]),
    Overloaded: Overloaded("full", 1.5, "CLIENT_SHARE"),
    errors.Unavailable: errors.Unavailable("prior", "gone"),
    ReplicaLost: ReplicaLost("prior", "prior-7", "lost"),
    errors.PoisonSuspected: errors.PoisonSuspected("prior", "lost twice"),
    PreconditionFailed: PreconditionFailed("clip_space", "another CLIP"),
    errors.Unauthenticated: errors.Unauthenticated("no key", "CREDENTIALS_MISSING"),
}


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_every_error_pickles_and_copies_with_all_its_fields(kind: type[UnclipError]) -> None:
    error = MADE.get(kind) or kind("said")
    error.request_id = "r1"
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is kind
        assert (str(again), again.args, again.reason) == (str(error), error.args, error.reason)
        assert vars(again) == vars(error)
        assert again.request_id == "r1"

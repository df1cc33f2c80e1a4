"""The contract's enums by the names that people write; each is mapped here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar, get_args

from unclip import enum_names
from unclip.api.gateway.v1 import gateway_pb2
from unclip.api.type.v1 import notice_pb2, sampling_pb2

Name = TypeVar("Name", bound=str)


class Names(Generic[Name]):
    """One enum. names: by number, in the contract's order, UNSPECIFIED left out; numbers: the other way round.

    members: the contract's own words, UNSPECIFIED among them.
    """

    def __init__(self, enum: Any, literal: Any) -> None:
        self.members = tuple(enum.keys())
        self.names: Mapping[int, Name] = dict(zip(enum.values()[1:], get_args(literal), strict=True))
        self.numbers: Mapping[Name, Any] = {name: number for number, name in self.names.items()}


FORMATS: Names[enum_names.FileFormat] = Names(gateway_pb2.ImageFormat, enum_names.FileFormat)
FITS: Names[enum_names.Fit] = Names(gateway_pb2.Fit, enum_names.Fit)
STARTS: Names[enum_names.Start] = Names(gateway_pb2.Start, enum_names.Start)
NOTICES: Names[enum_names.NoticeKind] = Names(notice_pb2.NoticeKind, enum_names.NoticeKind)
QUALITIES: Names[enum_names.Quality] = Names(sampling_pb2.Quality, enum_names.Quality)
SAMPLERS: Names[enum_names.SamplerName] = Names(sampling_pb2.Sampler, enum_names.SamplerName)
STAGES: Names[enum_names.StageName] = Names(sampling_pb2.Stage, enum_names.StageName)

# By the enum's full name.
ENUMS: Mapping[str, Names[Any]] = {
    enum.DESCRIPTOR.full_name: names
    for enum, names in (
        (gateway_pb2.ImageFormat, FORMATS),
        (gateway_pb2.Fit, FITS),
        (gateway_pb2.Start, STARTS),
        (notice_pb2.NoticeKind, NOTICES),
        (sampling_pb2.Quality, QUALITIES),
        (sampling_pb2.Sampler, SAMPLERS),
        (sampling_pb2.Stage, STAGES),
    )
}

"""Every kind of field that a contract can have travels by its name, also those that today's contracts do without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from unclip.api.type.v1 import sampling_pb2
from unclip.errors import InvalidRequest
from unclip.wire.by_name import PLAIN

FIELD = descriptor_pb2.FieldDescriptorProto


@dataclass(frozen=True)
class Odd:
    """A field of each kind."""

    stages: tuple[str, ...] = ()
    file: bytes = b""
    files: tuple[bytes, ...] = ()
    counts: Mapping[str, int] | None = None
    samplers: Mapping[int, str] | None = None


def message_type() -> Any:
    """The message of ``Odd``."""
    pool = descriptor_pool.DescriptorPool()
    pool.Add(descriptor_pb2.FileDescriptorProto.FromString(sampling_pb2.DESCRIPTOR.serialized_pb))
    file = descriptor_pb2.FileDescriptorProto(
        name="odd.proto", package="odd", syntax="proto3", dependency=[sampling_pb2.DESCRIPTOR.name]
    )
    odd = file.message_type.add(name="Odd")
    enum = {"stages": "Stage", "samplers": "Sampler"}
    odd.field.add(
        name="stages", number=1, label=FIELD.LABEL_REPEATED, type=FIELD.TYPE_ENUM
    ).type_name = f".unclip.api.type.v1.{enum['stages']}"
    odd.field.add(name="file", number=2, label=FIELD.LABEL_OPTIONAL, type=FIELD.TYPE_BYTES)
    odd.field.add(name="files", number=3, label=FIELD.LABEL_REPEATED, type=FIELD.TYPE_BYTES)
    maps = ((4, "counts", FIELD.TYPE_STRING, FIELD.TYPE_INT32), (5, "samplers", FIELD.TYPE_INT32, FIELD.TYPE_ENUM))
    for number, name, key, value in maps:
        entry = odd.nested_type.add(name=f"{name.capitalize()}Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, label=FIELD.LABEL_OPTIONAL, type=key)
        held = entry.field.add(name="value", number=2, label=FIELD.LABEL_OPTIONAL, type=value)
        if value == FIELD.TYPE_ENUM:
            held.type_name = f".unclip.api.type.v1.{enum[name]}"
        odd.field.add(
            name=name,
            number=number,
            label=FIELD.LABEL_REPEATED,
            type=FIELD.TYPE_MESSAGE,
            type_name=f".odd.Odd.{entry.name}",
        )
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("odd.Odd"))


MESSAGE = message_type()
FULL = Odd(("prior", "decoder"), b"\xff\0", (b"a", b""), {"a": 1, "b": -2}, {3: "ddim", 4: "ddpm"})


def test_every_field_comes_back_as_it_was_sent() -> None:
    assert PLAIN.read(Odd, MESSAGE.FromString(PLAIN.write(FULL, MESSAGE()).SerializeToString())) == FULL
    assert PLAIN.read(Odd, PLAIN.write(Odd(), MESSAGE())) == Odd(counts={}, samplers={})


def test_younger_names_among_many_are_left_out() -> None:
    message = PLAIN.write(FULL, MESSAGE())
    message.stages.append(99)
    message.samplers[5] = 99
    assert PLAIN.read(Odd, message) == FULL


@pytest.mark.parametrize(
    ("field", "value", "path"),
    [
        ("stages", ("prior", "kitchen"), "stages[1]"),
        ("stages", "prior", "stages"),
        ("file", "text", "file"),
        ("files", (b"", 3), "files[1]"),
        ("counts", [("a", 1)], "counts"),
        ("counts", {"a": "many"}, "counts['a']"),
        ("counts", {"a": 1 << 31}, "counts['a']"),
        ("counts", {1: 1}, "counts[1]"),
        ("samplers", {1: "guess"}, "samplers[1]"),
    ],
)
def test_what_no_message_can_hold_is_refused_by_its_place(field: str, value: object, path: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        PLAIN.write(replace(FULL, **{field: value}), MESSAGE())  # type: ignore[arg-type]
    assert [violation.field for violation in caught.value.violations] == [path]

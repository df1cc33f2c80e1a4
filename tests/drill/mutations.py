"""Ways to make a bad message of a good one. Each takes a sound message and gives bytes."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tests.contract.requests import BAD_PICTURES

Mutation = Callable[[Message, random.Random], bytes]

INTEGERS = (-1, 2**31 - 1, -(2**31))
LONGS = (-1, 2**63 - 1, -(2**63), 2**40)
FLOATS = (float("nan"), float("inf"), float("-inf"), 3e38, -1.0)
TEXTS = ("\x00", "a\nb", "\x7f", "x" * 5000, "\u202e" * 2000, "")
SMALL_PICTURES = [data for data, _ in BAD_PICTURES.values() if len(data) < 2**20]
BYTES = (b"", b"\x00", struct.pack("<4f", float("nan"), float("inf"), 0, 0), *SMALL_PICTURES)
TYPE = FieldDescriptor


def truncated(sound: Message, chance: random.Random) -> bytes:
    """Cut anywhere."""
    data = sound.SerializeToString()
    return data[: chance.randrange(len(data))] if data else b"\x0a"


def garbage(sound: Message, chance: random.Random) -> bytes:
    """Nothing of it left."""
    return chance.randbytes(chance.randrange(1, 2000))


def flipped(sound: Message, chance: random.Random) -> bytes:
    """Some bytes are others."""
    data = bytearray(sound.SerializeToString() or b"\x08\x01")
    for _ in range(chance.randrange(1, 20)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data)


def overlong(sound: Message, chance: random.Random) -> bytes:
    """A field that promises up to 2 GiB which do not come."""
    tag = chance.randrange(1, 16) << 3 | 2
    return sound.SerializeToString() + bytes([tag]) + varint(chance.choice((2**31 - 1, 2**30, 2**63)))


def nested(sound: Message, chance: random.Random) -> bytes:
    """Messages in messages in messages."""
    data = b""
    for _ in range(chance.randrange(50, 400)):
        data = b"\x0a" + varint(len(data)) + data
    return data


def groups(sound: Message, chance: random.Random) -> bytes:
    """Groups that are opened and never closed."""
    return bytes([chance.randrange(1, 16) << 3 | 3]) * chance.randrange(10, 5000)


def absurd(sound: Message, chance: random.Random) -> bytes:
    """One field of a type's worst values: sizes, counts, tensors, pictures, captions."""
    changed = type(sound)()
    changed.CopyFrom(sound)
    spoil(changed, chance)
    return changed.SerializeToString()


def not_utf8(sound: Message, chance: random.Random) -> bytes:
    """Text that is none, in every field that could be text."""
    return b"".join(bytes([number << 3 | 2]) + varint(4) + b"\xff\xfe\xc0\x80" for number in range(1, 16))


MUTATIONS: Mapping[str, Mutation] = {
    "truncated": truncated,
    "garbage": garbage,
    "flipped": flipped,
    "overlong": overlong,
    "nested": nested,
    "groups": groups,
    "absurd": absurd,
    "absurd twice": lambda sound, chance: absurd(parsed(type(sound), absurd(sound, chance)), chance),
    "not UTF-8": not_utf8,
}


def parsed(kind: type[Message], data: bytes) -> Message:
    """The message in ``data``."""
    message = kind()
    message.ParseFromString(data)
    return message


def spoil(message: Message, chance: random.Random) -> None:
    """Gives one field, at any depth, a value that it must not have. A message without fields stays as it is."""
    fields: list[Any] = list(message.DESCRIPTOR.fields)
    if not fields:
        return
    field = chance.choice(fields)
    if field.type == TYPE.TYPE_MESSAGE:
        inner = getattr(message, field.name)
        if not field.is_repeated:
            spoil(inner, chance) if chance.random() < 0.9 else message.ClearField(field.name)
        elif inner and chance.random() < 0.7:
            spoil(chance.choice(inner), chance)
        else:
            for _ in range(chance.choice((1, 100))):
                inner.add()
        return
    value = worst(field, chance)
    if field.is_repeated:
        values: Any = getattr(message, field.name)
        values.extend([value] * chance.choice((1, 2, 200)))
    else:
        setattr(message, field.name, value)


def worst(field: Any, chance: random.Random) -> Any:
    """A value of the field's type that hardly any field allows."""
    match field.type:
        case TYPE.TYPE_STRING:
            return chance.choice(TEXTS)
        case TYPE.TYPE_BYTES:
            return chance.choice(BYTES)
        case TYPE.TYPE_BOOL:
            return chance.random() < 0.5
        case TYPE.TYPE_FLOAT | TYPE.TYPE_DOUBLE:
            return chance.choice(FLOATS)
        case TYPE.TYPE_ENUM:
            return chance.choice((99, -1, 0))
        case TYPE.TYPE_INT64 | TYPE.TYPE_SINT64:
            return chance.choice(LONGS)
    return chance.choice(INTEGERS)


def bomb(size: int) -> bytes:
    """A message of ``size`` bytes in a field that nobody knows: next to nothing when it is compressed."""
    return b"\xfa\x3e" + varint(size) + bytes(size)  # field 1007


def varint(value: int) -> bytes:
    """Protobuf's encoding of a number that is not negative."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)

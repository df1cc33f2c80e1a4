"""Values and messages, mapped by the names of their fields: a field that both have travels by itself.

A value is a dataclass. Its field is the message's field of the same name, or of the name that its metadata have as
``wire``. None, and an empty text that the message can do without, is left unset where the value may. Enums are names
(``unclip.wire.enums``), repeated fields are tuples, maps are dicts; of enums' values and messages among them those that
are not known here are left out.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from unclip.errors import InvalidRequest
from unclip.wire.enums import ENUMS
from unclip.wire.violations import Violations

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Value = TypeVar("Value", bound="DataclassInstance")
Filled = TypeVar("Filled", bound=Message)
Write = Callable[[Any, str], Message | None]
Read = Callable[[Any, str], Any]
Place = Any  # a FieldDescriptor, of which protobuf's types have two

WHOLE = {FieldDescriptor.CPPTYPE_INT32: 32, FieldDescriptor.CPPTYPE_INT64: 64}
NUMBERS = (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE)


class NotKnown(LookupError):
    """A message has a value that is younger than this code, where nothing can stand for it."""


class Converter:
    """writers: of the messages inside messages, by full name: from a value and its path, None to leave it unset.
    readers: likewise, from the message and its field's name. What there is no reader for is read as None."""

    def __init__(self, writers: Mapping[str, Write], readers: Mapping[str, Read]) -> None:
        self._writers, self._readers = writers, readers

    def write(self, value: DataclassInstance, message: Filled, path: str = "") -> Filled:
        """``message`` with the fields of ``value``.

        Raises:
            InvalidRequest: with everything that no message can hold; ``path`` comes before the fields' names.
        """
        found = Violations()
        for field in dataclasses.fields(value):
            item, place = getattr(value, field.name), message.DESCRIPTOR.fields_by_name[wire_name(field)]
            unset = item is None and field.default is not dataclasses.MISSING
            if not unset and not (place.has_presence and isinstance(item, str) and not item):
                found.take(lambda item=item, place=place, at=path + field.name: self._put(message, place, item, at))  # type: ignore[misc]
        found.raise_if_any()
        return message

    def read(self, kind: type[Value], *messages: Message, **given: Any) -> Value:
        """A ``kind`` with what is ``given``; the rest says the first of ``messages`` that has a field of that name.

        What is unset there, or the name of a younger enum value, is left to the default of ``kind``.

        Raises:
            NotKnown: there is no default.
            InvalidRequest, PreconditionFailed: of a reader.
        """
        return kind(**given, **self._found(kind, messages, given))

    def over(self, base: Value, *messages: Message) -> Value:
        """``base`` with what ``messages`` have set of its fields, read as `read` does."""
        return dataclasses.replace(base, **self._found(base, messages, ()))

    def _found(self, kind: Value | type[Value], messages: Sequence[Message], given: Container[str]) -> dict[str, Any]:
        """What ``messages`` say of the fields of ``kind``, a class or a value whose own will do, but those given."""
        found = {}
        for field in dataclasses.fields(kind):
            sources = [each for each in messages if wire_name(field) in each.DESCRIPTOR.fields_by_name]
            if field.name in given or not sources:
                continue
            place = sources[0].DESCRIPTOR.fields_by_name[wire_name(field)]
            optional = not isinstance(kind, type) or field.default is not dataclasses.MISSING
            if optional and place.has_presence and not sources[0].HasField(place.name):
                continue
            try:
                found[field.name] = self._take(sources[0], place)
            except NotKnown:
                if not optional:
                    raise
        return found

    def _put(self, message: Message, place: Place, item: Any, path: str) -> None:
        if is_map(place):
            key, value = (place.message_type.fields_by_name[name] for name in ("key", "value"))
            target = getattr(message, place.name)
            for name, one in mapped(item, path).items():
                at = f"{path}[{brief(name)}]"
                if value.message_type:
                    if (inner := self._one(value, one, at)) is not None:
                        target[scalar(key, name, at)].CopyFrom(inner)
                else:
                    target[scalar(key, name, at)] = scalar(value, one, at)
        elif place.is_repeated:
            target = getattr(message, place.name)
            target.extend([self._one(place, one, f"{path}[{index}]") for index, one in enumerate(listed(item, path))])
        elif not place.message_type:
            setattr(message, place.name, scalar(place, item, path))
        elif (inner := self._one(place, item, path)) is not None:
            getattr(message, place.name).CopyFrom(inner)

    def _one(self, place: Place, item: Any, path: str) -> Any:
        return (
            self._writers[place.message_type.full_name](item, path) if place.message_type else scalar(place, item, path)
        )

    def _take(self, message: Message, place: Place) -> Any:
        found = getattr(message, place.name)
        if is_map(place):
            value = self._reader(place.message_type.fields_by_name["value"])
            return dict(_known(lambda pair: (pair[0], value(pair[1])), found.items())) if value else {}
        read = self._reader(place)
        if not place.is_repeated:
            return None if read is None else read(found)
        return tuple(_known(read, found)) if read else ()

    def _reader(self, place: Place) -> Callable[[Any], Any] | None:
        """What reads one item of ``place``; None where it is a message that nobody reads."""
        if place.enum_type:
            return lambda number: name_of(place, number)
        if not place.message_type:
            return lambda item: item
        reader = self._readers.get(place.message_type.full_name)
        return None if reader is None else lambda message: reader(message, place.name)


def is_map(place: Place) -> bool:
    """Whether the field is a map."""
    return bool(place.message_type and place.message_type.GetOptions().map_entry)


def _known(read: Callable[[Any], Any], found: Iterable[Any]) -> Iterable[Any]:
    """What is read of each, those left out that are not known."""
    for one in found:
        try:
            yield read(one)
        except NotKnown:
            continue


def limited(default: Any, low: float, high: float) -> Any:
    """A field of a dataclass that is a number of low to high."""
    return dataclasses.field(default=default, metadata={"limits": (low, high)})


def wire_name(field: dataclasses.Field[Any]) -> str:
    """The name of a value's field in the contract."""
    return str(field.metadata.get("wire", field.name))


def name_of(place: Place, number: int) -> str:
    """The name of an enum's value. Raises NotKnown for UNSPECIFIED, and for younger ones."""
    names = ENUMS[place.enum_type.full_name].names
    if number not in names:
        raise NotKnown(f"{place.enum_type.name} {number}")
    return str(names[number])


def listed(items: Any, path: str) -> list[Any]:
    """The items of a sequence. Raises InvalidRequest for what is none, a text above all."""
    one = isinstance(items, (str, bytes, bytearray, memoryview, Mapping)) or hasattr(items, "read")
    if one or not isinstance(items, Iterable) or getattr(items, "ndim", 1) == 0:
        raise InvalidRequest.of(path, f"must be a list; got {brief(items)}")
    return list(items)


def mapped(item: Any, path: str) -> Mapping[Any, Any]:
    """``item``. Raises InvalidRequest for what is no mapping."""
    if not isinstance(item, Mapping):
        raise InvalidRequest.of(path, f"must be a mapping; got {brief(item)}")
    return item


def scalar(place: Place, item: Any, path: str) -> Any:
    """``item`` as the field ``place`` holds it. Raises InvalidRequest for what it cannot hold."""
    if place.enum_type:
        numbers = ENUMS[place.enum_type.full_name].numbers
        if not isinstance(item, str) or item not in numbers:
            raise InvalidRequest.of(path, f"must be one of {', '.join(numbers)}; got {item!r:.100}")
        return numbers[item]
    if place.type == FieldDescriptor.TYPE_BYTES:
        return octets(item, path)
    if place.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return text(item, path)
    if place.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        if not isinstance(item, (bool, np.bool_)):
            raise InvalidRequest.of(path, f"must be True or False; got {brief(item)}")
        return bool(item)
    if place.cpp_type in NUMBERS:
        return number(item, path)
    return integer(item, path, WHOLE[place.cpp_type])


def text(item: Any, path: str) -> str:
    """A text that UTF-8 can say. Raises InvalidRequest."""
    if not isinstance(item, str):
        raise InvalidRequest.of(path, f"must be a text; got {brief(item)}")
    try:
        item.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest.of(path, f"must be Unicode; got U+{ord(item[error.start]):04X} alone") from error
    return item


def octets(item: Any, path: str) -> bytes:
    """Bytes. Raises InvalidRequest for what holds none."""
    if not isinstance(item, (bytes, bytearray, memoryview)):
        raise InvalidRequest.of(path, f"must be bytes; got {brief(item)}")
    return bytes(item)


def integer(item: Any, path: str, bits: int) -> int:
    """A whole number of ``bits`` bits. Raises InvalidRequest."""
    try:
        given = operator.index(item)
    except TypeError as error:
        raise InvalidRequest.of(path, f"must be a whole number; got {brief(item)}") from error
    if not -(1 << bits - 1) <= given < 1 << bits - 1:
        raise InvalidRequest.of(path, f"must be -2^{bits - 1} to 2^{bits - 1} - 1; got {brief(given)}")
    return given


def number(item: Any, path: str) -> float:
    """A number that float64 holds. Raises InvalidRequest."""
    try:
        if isinstance(item, Real) or (hasattr(type(item), "__float__") and not isinstance(item, np.ndarray)):
            return float(item)
    except (OverflowError, TypeError, ValueError):
        pass
    raise InvalidRequest.of(path, f"must be a number; got {brief(item)}")


def brief(item: Any) -> str:
    """What ``item`` is, in a few words."""
    if isinstance(item, int) and item.bit_length() > 128:  # too long to be shown, or even to be written
        return f"a number of {item.bit_length()} bits"
    return f"{item!r:.60}" if isinstance(item, (str, int, float, type(None))) else f"a {type(item).__name__}"


# Of messages whose fields are plain.
PLAIN = Converter({}, {})

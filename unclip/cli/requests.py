"""The options of requests on the command line, as their fields have them: a new field is an option by itself."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Sequence
from functools import partial
from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor

from unclip.api.gateway.v1 import gateway_pb2
from unclip.api.type.v1 import sampling_pb2
from unclip.client import Request, Sampling
from unclip.client.values import KINDS
from unclip.errors import FieldViolation, InvalidRequest
from unclip.wire.by_name import wire_name
from unclip.wire.enums import ENUMS

Kind = TypeVar("Kind", bound=Request)

SAMPLING = sampling_pb2.SamplingOptions.DESCRIPTOR
MEMBERS = {
    member: str(name) for names in ENUMS.values() for member, name in zip(names.members[1:], names.numbers, strict=True)
}
# What a value's field is called, by its name in the contract where that is another.
OWN_NAMES = {wire_name(field): field.name for kind in KINDS.values() for field in dataclasses.fields(kind)}
WIRE_WORD = re.compile(r"\b[A-Za-z]+(_[A-Za-z0-9]+)+\b")
SIDE = re.compile(r"-?\d{1,9}", re.ASCII)
SIDES_HELP = "N pixels a side, 16 to 2048, resized; or WxH, painted so where the stack can (as the stack makes them)"
TYPES = {
    FieldDescriptor.CPPTYPE_FLOAT: float,
    FieldDescriptor.CPPTYPE_INT32: int,
    FieldDescriptor.CPPTYPE_INT64: int,
    FieldDescriptor.CPPTYPE_STRING: str,
}


def add_options(command: argparse.ArgumentParser, kind: type[Request]) -> None:
    """What can be said of a request of ``kind``; where it begins and ends are no options."""
    [name] = [name for name, each in KINDS.items() if each is kind]
    message: Any = gateway_pb2.StreamRequest.DESCRIPTOR.fields_by_name[name].message_type
    for field in dataclasses.fields(kind):
        place = message.fields_by_name[wire_name(field)]
        if place.message_type == SAMPLING:
            description = f"{field.metadata['help']}; what is left out takes the checkpoint's default"
            group = command.add_argument_group(field.name, description)
            for part in dataclasses.fields(Sampling):
                if part.name != field.metadata.get("without"):
                    add_option(group, part, SAMPLING.fields_by_name[part.name], f"{field.name}_")
        elif field.metadata.get("within"):
            continue
        elif parts := [part.name for part in dataclasses.fields(kind) if part.metadata.get("within") == field.name]:
            add_sides(command, field, parts)
        elif "help" in field.metadata and not place.message_type:
            add_option(command, field, place)


def add_option(
    command: argparse._ActionsContainer, field: dataclasses.Field[Any], place: Any, prefix: str = ""
) -> None:
    """The option for one ``field``, which is ``place`` in the contract."""
    flag = f"--{prefix}{field.metadata['flag'] or field.name}".replace("_", "-")
    keywords = {"dest": prefix + field.name, "default": field.default, "help": field.metadata["help"]}
    if place.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        command.add_argument(flag, action="store_true", **keywords)
    elif place.enum_type:
        keywords["help"] += f" ({field.default})" if field.default else ""
        command.add_argument(flag, choices=list(ENUMS[place.enum_type.full_name].numbers), **keywords)
    else:
        kind = TYPES[place.cpp_type]
        command.add_argument(flag, type=kind, metavar={int: "N", float: "X", str: "TEXT"}[kind], **keywords)


def add_sides(command: argparse.ArgumentParser, field: dataclasses.Field[Any], parts: Sequence[str]) -> None:
    """The option for ``field``, a number of pixels, that also says ``parts``: with an x between, WxH."""
    keywords: dict[str, Any] = {"dest": field.name, "default": field.default, "metavar": "N|WxH", "help": SIDES_HELP}
    command.add_argument(f"--{field.name}", action=Sides, parts=parts, **keywords)
    command.set_defaults(**dict.fromkeys(parts))


class Sides(argparse.Action):
    """A number, or as many as ``parts`` with an x between, each of which is a value of its own."""

    def __init__(self, *, parts: Sequence[str], **more: Any) -> None:
        super().__init__(**more)
        self.parts = tuple(parts)

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        """Takes what was said last."""
        sides = values.lower().split("x")
        if len(sides) not in (1, len(self.parts)) or not all(SIDE.fullmatch(side) for side in sides):
            raise argparse.ArgumentError(self, f"must be N or WxH; got {values!r:.60}")
        numbers = [int(side) for side in sides]
        said = {self.dest: numbers[0]} if len(numbers) == 1 else dict(zip(self.parts, numbers, strict=True))
        for name in (self.dest, *self.parts):
            setattr(namespace, name, said.get(name))


def in_flags(error: InvalidRequest, command: argparse.ArgumentParser) -> InvalidRequest:
    """``error`` in the words of the command line: what ``command`` calls the fields of requests, and enums' values."""
    told = dict[tuple[str, str], FieldViolation]()
    for violation in error.violations:
        flag = flag_of(violation.field, command)
        description = WIRE_WORD.sub(partial(word_of, command), violation.description)
        # One option may stand for many values of a list: one of them is enough.
        rule = description.partition("; got ")[0] if violation.field.endswith("]") else description
        told[flag, rule] = FieldViolation(flag, description)
    return InvalidRequest(list(told.values()))


def flag_of(path: str, command: argparse.ArgumentParser) -> str:
    """What ``command`` calls a field; its path where nothing there stands for it."""
    kind, _, rest = path.partition(".")
    parts = (rest if kind in KINDS and rest else path).split(".")
    parts[0] = OWN_NAMES.get(parts[0], parts[0])
    for count in range(len(parts), 0, -1):
        name, _, index = "_".join(parts[:count]).partition("[")
        if action := next(
            (each for each in command._actions if name in (each.dest, *getattr(each, "parts", ()))), None
        ):
            called = action.option_strings[0] if action.option_strings else str(action.metavar or name)
            many = index and isinstance(action, argparse._AppendAction)
            return f"{called} (number {int(index.rstrip(']')) + 1})" if many else called
    if any(parts[0] == group.title for group in command._action_groups):  # all of how a stage samples
        return f"--{parts[0]}-*"
    return path


def dests(action: argparse.Action) -> tuple[str, ...]:
    """What an option says: fields of a request."""
    return (action.dest, *action.parts) if isinstance(action, Sides) else (action.dest,)


def word_of(command: argparse.ArgumentParser, found: re.Match[str]) -> str:
    """A word that the contract has, as the command line has it."""
    word = found[0]
    return MEMBERS.get(word) or flag_of(word, command)


def request_of(options: argparse.Namespace, kind: type[Kind], **given: Any) -> Kind:
    """The request of ``kind`` that ``options`` ask for, with what is ``given``."""
    values = vars(options)
    for field in dataclasses.fields(kind):
        if field.name in given or "help" not in field.metadata:
            continue
        if isinstance(field.default, Sampling):
            parts = {part.name: values.get(f"{field.name}_{part.name}") for part in dataclasses.fields(Sampling)}
            given[field.name] = Sampling(**parts)
        elif field.name in values:
            given[field.name] = values[field.name]
    return kind(**given)

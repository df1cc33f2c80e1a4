"""Bodies of requests, read within bounds: of bytes, of time, of parts, and of all bodies together."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from unclip.checkpoints.untrusted import read_json
from unclip.serving.budget import Budget
from unclip.web.errors import HttpError
from unclip.wire.images import MAX_BYTES_TOGETHER

if TYPE_CHECKING:  # where the library has it
    from python_multipart.multipart import MultipartCallbacks

MAX_JSON = 2**20
LIGHT = 2**18  # bytes of JSON that are read at once; more are read beside other requests
MAX_TEXTS = 2**18  # bytes of a form that are no pictures, its boundaries and headers among them
MAX_FORM = MAX_BYTES_TOGETHER + MAX_TEXTS
MAX_PARTS = 64
MAX_TEXT = 2**16
PICTURES = ("image", "mask")
INDEXED = re.compile(r"image\[\d{0,2}\]")


@dataclass
class Form:
    """A multipart form. texts: its fields by name. pictures: the files of ``image`` and ``mask``, in order."""

    texts: dict[str, str] = field(default_factory=dict)
    pictures: dict[str, list[bytes]] = field(default_factory=lambda: {name: [] for name in PICTURES})


class Bodies:
    """Reads bodies. limit: bytes of all that are under way. seconds: in which each must have come."""

    def __init__(self, limit: int, seconds: float) -> None:
        self._budget, self._seconds = Budget("web", "body_bytes", limit), seconds

    @contextmanager
    def room(self, client: str) -> Iterator[Room]:
        """Room for the body of a request of ``client``, until the body of this context is over."""
        room = Room(self._budget, client)
        try:
            yield room
        finally:
            room.give_back()

    async def json(self, request: Request, room: Room, most: int = MAX_JSON) -> Mapping[str, Any]:
        """The object in the body, of at most ``most`` bytes.

        Raises:
            HttpError: it is none, or too large, or too slow.
            Overloaded: there is no room.
        """
        require_type(request, "application/json")
        body = bytearray()
        async with aclosing(self._chunks(request, most, room)) as chunks:
            async for chunk in chunks:
                body += chunk
        if len(body) > LIGHT:
            return await asyncio.to_thread(object_in, bytes(body))
        return object_in(bytes(body))

    async def form(self, request: Request, room: Room) -> Form:
        """The form in the body. Raises as `json` does."""
        require_type(request, "multipart/form-data")
        reader = FormReader(boundary_of(request))
        async with aclosing(self._chunks(request, MAX_FORM, room)) as chunks:
            async for chunk in chunks:
                reader.feed(chunk)
        return reader.done()

    async def _chunks(self, request: Request, most: int, room: Room) -> AsyncGenerator[bytes, None]:
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and (len(declared) > 12 or int(declared) > most):
            raise too_large(most)
        size = 0
        try:
            async with asyncio.timeout(self._seconds):
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > most:
                        raise too_large(most)
                    room.take(len(chunk))
                    yield chunk
        except TimeoutError:
            text = f"The request's body did not come within {self._seconds:g} s."
            raise HttpError(408, "request_timeout", text, connection="close") from None


class Room:
    """What one request has of a budget."""

    def __init__(self, budget: Budget, client: str) -> None:
        self._budget, self._client, self._taken = budget, client, 0

    def take(self, size: int) -> None:
        """``size`` bytes more. Raises Overloaded."""
        self._budget.take(size, self._client)
        self._taken += size

    def give_back(self) -> None:
        """All of it."""
        self._budget.give_back(self._taken, self._client)
        self._taken = 0


def too_large(most: int) -> HttpError:
    """The error for a body of more than ``most`` bytes."""
    return HttpError(
        413, "request_too_large", f"The request's body must have at most {most} bytes.", connection="close"
    )


def require_type(request: Request, wanted: str) -> None:
    """Raises HttpError unless the body says that it is of type ``wanted``, and not compressed."""
    found = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if found != wanted:
        raise HttpError(415, "unsupported_media_type", f"The request's body must be {wanted}.")
    if request.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        text = "The request's body must not be compressed."
        raise HttpError(415, "unsupported_media_type", text, accept_encoding="identity")


def object_in(body: bytes) -> Mapping[str, Any]:
    """The JSON object in ``body``. Raises HttpError."""
    try:
        found = read_json(body)
    except ValueError:
        raise HttpError(400, "invalid_json", "The request's body must be a JSON object.") from None
    if not isinstance(found, dict):
        raise HttpError(400, "invalid_json", "The request's body must be a JSON object.")
    return found


def boundary_of(request: Request) -> bytes:
    """What stands between the parts of a form. Raises HttpError."""
    boundary = parse_options_header(request.headers.get("content-type", ""))[1].get(b"boundary", b"")
    if not 1 <= len(boundary) <= 70:  # RFC 2046
        raise bad_form("needs a boundary of 1 to 70 characters")
    return boundary


def bad_form(what: str) -> HttpError:
    """The error for a form that cannot be read."""
    return HttpError(400, "invalid_multipart", f"The request's multipart body {what}.")


class FormReader:
    """Reads a form piece by piece. Raises HttpError from every method."""

    def __init__(self, boundary: bytes) -> None:
        # What is read is no part of who reads: in a circle of references megabytes would outlive their request, until
        # Python looks for circles.
        self._parts = FormParts()
        try:
            self._parser = MultipartParser(boundary, self._parts.callbacks)
        except FormParserError:
            raise bad_form("has a boundary that cannot be used") from None

    def feed(self, chunk: bytes) -> None:
        """The next piece."""
        try:
            self._parser.write(chunk)
        except HttpError:
            raise
        except Exception:
            raise bad_form("is malformed") from None

    def done(self) -> Form:
        """The form, which must be whole."""
        if not self._parts.complete:
            raise bad_form("must end with its closing boundary")
        return self._parts.form


class FormParts:
    """What a parser finds, part by part. Raises HttpError. complete: whether the form has ended."""

    def __init__(self) -> None:
        self.form, self.complete, self._parts, self._texts = Form(), False, 0, 0
        self._header, self._value, self._headers, self._data = b"", b"", dict[bytes, bytes](), bytearray()
        self._name = ""

    @property
    def callbacks(self) -> MultipartCallbacks:
        """What the parser calls."""
        return {
            "on_part_begin": self._begin_part,
            "on_header_field": self._take_header,
            "on_header_value": self._take_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._begin_data,
            "on_part_data": self._take_data,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise bad_form(f"must have at most {MAX_PARTS} parts")
        self._headers, self._header, self._value, self._data = {}, b"", b"", bytearray()

    def _take_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _take_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header = self._value = b""

    def _begin_data(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        try:
            name = options.get(b"name", b"").decode()
        except UnicodeDecodeError:
            name = ""
        if kind != b"form-data" or not name or len(name) > 64:
            raise bad_form("must have a name of at most 64 characters for each part")
        self._name = "image" if INDEXED.fullmatch(name) else name
        if self._name in self.form.texts:
            raise HttpError(400, "invalid_value", f"{self._name} was given twice.", param=self._name)

    def _take_data(self, data: bytes, start: int, end: int) -> None:
        if self._name not in PICTURES:
            self._texts += end - start
            if self._texts > MAX_TEXT:
                raise bad_form(f"must have at most {MAX_TEXT} bytes beside its pictures")
        self._data += data[start:end]

    def _end_part(self) -> None:
        if self._name in PICTURES:
            self.form.pictures[self._name].append(bytes(self._data))
        else:
            try:
                self.form.texts[self._name] = self._data.decode()
            except UnicodeDecodeError:
                raise HttpError(400, "invalid_value", f"{self._name} must be UTF-8.", param=self._name) from None
        self._data = bytearray()

    def _end(self) -> None:
        self.complete = True

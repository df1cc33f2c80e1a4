"""Where pictures are that were answered by their addresses: on disk, in a bucket or in memory, for a while."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import re
import secrets
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import from_url

from unclip.client import FileFormat
from unclip.errors import ConfigurationError, Overloaded, Unavailable
from unclip.serving.metrics import REFUSALS
from unclip.web.errors import HttpError

log = logging.getLogger(__name__)
NAME_BYTES = 24  # 192 random bits: who does not know a name does not find it
ENDINGS: Mapping[FileFormat, str] = {"png": "png", "jpeg": "jpg", "webp": "webp"}
MEDIA_TYPES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}
NAME = re.compile(rf"[0-9a-f]{{{2 * NAME_BYTES}}}\.(png|jpg|webp)")
LEAST_PAUSE_S = 1.0
BUCKET = re.compile(r"(?:s3a?|gs|az|abfss?)://")
# Of a bucket that does not answer: callers are told to come back, and do not wait for minutes.
RETRIES: Any = {"max_retries": 2, "retry_timeout": datetime.timedelta(seconds=10)}


class PictureStore:
    """Keeps pictures for ``seconds``. limit: bytes that it holds where it is no bucket, as this process knows."""

    def __init__(self, url: str, seconds: float, limit: int) -> None:
        """``url``: see `Settings.store`. Raises ConfigurationError where it cannot be opened."""
        self._own = tempfile.TemporaryDirectory(prefix="unclip-web-") if not url else None
        self._store: Any = opened(url or Path(self._own.name).as_uri() if self._own else url)
        self._limit = None if BUCKET.match(url) else limit
        self._seconds, self._held = seconds, 0

    async def put(self, picture: bytes, file_format: FileFormat) -> str:
        """Keeps a picture; the name that it is found by.

        Raises:
            Overloaded: there is no room.
            Unavailable: the store fails.
        """
        if self._limit is not None and self._held + len(picture) > self._limit:
            REFUSALS.labels("web", "stored_bytes").inc()
            raise Overloaded("there is no room for more pictures with addresses: ask for b64_json", 60.0)
        name = f"{secrets.token_hex(NAME_BYTES)}.{ENDINGS[file_format]}"
        self._held += len(picture)
        try:
            await obstore.put_async(self._store, name, picture)
        except (BaseError, OSError) as error:
            self._held -= len(picture)
            raise self._failed(error) from error
        return name

    async def get(self, name: str) -> tuple[bytes, str]:
        """A picture that is kept, and its media type.

        Raises:
            HttpError: there is none of that name, or no longer.
            Unavailable: the store fails.
        """
        found = NAME.fullmatch(name)
        if found is None:
            raise gone()
        try:
            answer = await obstore.get_async(self._store, name)
            if age(answer.meta) > self._seconds:
                raise gone()
            data = bytes(await answer.bytes_async())
        except FileNotFoundError:
            raise gone() from None
        except (BaseError, OSError) as error:
            raise self._failed(error) from error
        return data, MEDIA_TYPES[found[1]]

    async def clean(self) -> None:
        """Takes away what is too old, again and again until cancelled."""
        while True:
            try:
                await self.clean_once()
            except (BaseError, OSError) as error:
                log.warning("pictures that are too old could not be taken away: %s", type(error).__name__)
            await asyncio.sleep(max(LEAST_PAUSE_S, self._seconds / 10))

    async def clean_once(self) -> None:
        """Takes away what is too old, and counts what is left."""
        held, stream = 0, obstore.list(self._store)
        async for metas in stream:
            ours: Sequence[Any] = [meta for meta in metas if NAME.fullmatch(meta["path"])]
            old = [meta["path"] for meta in ours if age(meta) > self._seconds]
            held += sum(meta["size"] for meta in ours if meta["path"] not in old)
            for path in old:
                with contextlib.suppress(FileNotFoundError):  # another replica was faster
                    await obstore.delete_async(self._store, path)
        self._held = held

    def close(self) -> None:
        """Takes away a folder of its own, and what is in it."""
        if self._own is not None:
            self._own.cleanup()

    def _failed(self, error: BaseException) -> Unavailable:
        log.error("the store of pictures fails: %s", type(error).__name__)
        return Unavailable("web", "the store of pictures fails")


def opened(url: str) -> Any:
    """The store at ``url``; what a bucket needs beside that, credentials first, is in the environment. Raises
    ConfigurationError."""
    try:
        if BUCKET.match(url):
            return from_url(url, retry_config=RETRIES)
        return from_url(url, mkdir=True) if url.startswith("file:") else from_url(url)
    except (BaseError, OSError, ValueError) as error:
        kinds = "file:///folder, s3://bucket/prefix or memory:///"
        reason = str(error).partition("\n")[0]  # then come the library's own values
        raise ConfigurationError(f"store must be {kinds} that can be opened; got {url!r}: {reason}") from None


def age(meta: Any) -> float:
    """Seconds since what ``meta`` tells of was written."""
    written: datetime.datetime = meta["last_modified"]
    return time.time() - written.timestamp()


def gone() -> HttpError:
    """The error for a picture that is not there."""
    return HttpError(404, "not_found", "There is no such picture, or no longer.")

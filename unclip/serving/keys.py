"""API keys: who may call the gateway, how often, and how many calls at once.

A key is 32 random bytes, so that its SHA-256 alone can be kept in a file and gives nothing of it away. The file is
TOML, or JSON of the same shape::

    [keys.alice]
    sha256 = "9f86d081…"
    requests_per_minute = 60
    concurrency = 4
    expires = 2027-01-01T00:00:00Z

It is read again when it changes; a change that makes no sense is logged, and the keys before it stay in force.
"""

from __future__ import annotations

import datetime
import hashlib
import re
import secrets
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unclip.checkpoints.untrusted import read_json
from unclip.errors import ConfigurationError

PREFIX = "unclip_"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
DIGEST = re.compile(r"[0-9a-f]{64}")
MOST_PER_MINUTE, MOST_AT_ONCE = 1_000_000, 10_000


@dataclass(frozen=True)
class Key:
    """One key: its id, the SHA-256 of the key in hex, its limits, and when it ends (`time.time` seconds, or never)."""

    id: str
    sha256: str
    requests_per_minute: int
    concurrency: int
    expires: float = float("inf")


def new_key() -> str:
    """A key that nobody can guess: 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def digest(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def parse_keys(contents: Sequence[bytes]) -> tuple[Key, ...]:
    """The keys in a file.

    Raises:
        ConfigurationError: it is neither TOML nor JSON, or an entry is not as it should be; the entry is named.
    """
    try:
        text = contents[0].decode()
        table = read_json(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except RecursionError:
        raise ConfigurationError("API keys must be in TOML or JSON, not nested so deeply") from None
    except ValueError as error:  # of either format, and of UTF-8
        raise ConfigurationError(f"API keys must be in TOML or JSON: {error}") from None
    entries = table.get("keys") if set(table) <= {"keys"} else None
    if not isinstance(entries, dict):
        raise ConfigurationError('API keys must be one table, "keys", of a table for each key')
    found = tuple(_key(name, entry) for name, entry in entries.items())
    if len({key.sha256 for key in found}) < len(found):
        raise ConfigurationError("API keys: two entries have the same sha256")
    return found


def _key(name: str, entry: Any) -> Key:
    where = f"API key {name!r}"
    known = {"sha256", "requests_per_minute", "concurrency", "expires"}
    if not NAME.fullmatch(name):
        raise ConfigurationError(f"{where}: an id has 1 to 64 letters, digits, dots, dashes and underscores")
    if not isinstance(entry, dict) or not known - {"expires"} <= set(entry) <= known:
        raise ConfigurationError(f"{where}: must have sha256, requests_per_minute, concurrency, and may have expires")
    if not (isinstance(entry["sha256"], str) and DIGEST.fullmatch(entry["sha256"])):
        raise ConfigurationError(f"{where}: sha256 must be 64 lower-case hexadecimal digits")
    return Key(
        name,
        entry["sha256"],
        _number(where, entry, "requests_per_minute", MOST_PER_MINUTE),
        _number(where, entry, "concurrency", MOST_AT_ONCE),
        _end(where, entry["expires"]) if "expires" in entry else float("inf"),
    )


def _number(where: str, entry: Mapping[str, Any], name: str, most: int) -> int:
    value = entry[name]
    if type(value) is not int or not 1 <= value <= most:
        raise ConfigurationError(f"{where}: {name} must be 1 to {most}; got {value!r}")
    return int(value)


def _end(where: str, value: Any) -> float:
    try:
        moment = value if isinstance(value, datetime.datetime) else datetime.datetime.fromisoformat(value)
    except (TypeError, ValueError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ConfigurationError(f"{where}: expires must be a time with its zone, 2027-01-01T00:00:00Z; got {value!r}")
    return moment.timestamp()

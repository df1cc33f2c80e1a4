"""``unclip keys new``: makes an API key, and what the gateway's file of keys is to say of it."""

from __future__ import annotations

import argparse
import datetime
import sys

from unclip.cli import report
from unclip.errors import InvalidRequest
from unclip.serving.keys import NAME, digest, new_key


def new(options: argparse.Namespace) -> None:
    """Prints a new key, which is shown nowhere again, on standard error, and its entry for the file on standard output:
    what is appended to the file is the entry alone.

    Raises:
        InvalidRequest: no name for a key.
    """
    if not NAME.fullmatch(options.name):
        rule = "must have 1 to 64 letters, digits, dots, dashes and underscores, and begin with a letter or digit"
        raise InvalidRequest.of("name", f"{rule}; got {options.name!r}")
    key = new_key()
    entry: dict[str, object] = {
        "sha256": digest(key),
        "requests_per_minute": options.requests_per_minute,
        "concurrency": options.concurrency,
    }
    if options.days:
        end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=options.days)
        entry["expires"] = end.isoformat(timespec="seconds").replace("+00:00", "Z")
    if options.json:
        report.print_json({"key": key, "keys": {options.name: entry}})
        return
    print(f"the key, shown this once: {key}", file=sys.stderr)
    print("the entry for the gateway's --api-keys file, on standard output:", file=sys.stderr)
    print(f'[keys."{options.name}"]')
    for name, value in entry.items():
        quoted = f'"{value}"' if name == "sha256" else value
        print(f"{name} = {quoted}")

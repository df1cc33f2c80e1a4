"""``unclip doctor``: whether this machine and the services it is to use are well, and what to do where they are not."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from unclip.cli import local_checks, remote_checks, report
from unclip.cli.connection import tls_of
from unclip.cli.findings import Finding, table
from unclip.cli.terminal import line
from unclip.errors import InvalidRequest


def doctor(options: argparse.Namespace) -> int:
    """Prints what was found; 1 when anything has failed.

    Raises:
        InvalidRequest: a --stage that names none.
    """
    findings = list(examine(options))
    failed = any(finding.state == "fail" for finding in findings)
    if options.json:
        report.print_json({"ok": not failed, "findings": report.plain(findings)})
    else:
        for text in table(findings).split("\n"):
            line(text)
    return int(failed)


def examine(options: argparse.Namespace) -> Iterator[Finding]:
    """Everything there is to look at, this machine first."""
    stages = [split(text) for text in options.stages]
    tls = tls_of(options)
    if not options.remote_only:
        yield from local_checks.local(options.checkpoint)
    yield from remote_checks.gateway(options.server, tls, options.api_key, not options.no_picture)
    for name, address in stages:
        yield from remote_checks.stage(name, address, tls)


def split(text: str) -> tuple[str, str]:
    """A stage and its address. Raises InvalidRequest."""
    name, _, address = text.partition("=")
    if name not in remote_checks.STAGES or not address.rpartition(":")[2].isdigit():
        known = ", ".join(remote_checks.STAGES)
        raise InvalidRequest.of("--stage", f"must be one of {known}, = and host:port; got {text!r}")
    return name, address

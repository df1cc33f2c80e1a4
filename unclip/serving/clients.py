"""Who calls: the name that fair shares are kept by."""

from __future__ import annotations

import re
from typing import Any

import grpc

HEADER = "x-unclip-client"
ACCEPTED = re.compile(r"[\x21-\x7e]{1,128}")


def client_of(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """The name the caller gives itself in ``x-unclip-client`` metadata, or else the host it calls from."""
    sent = dict(context.invocation_metadata() or ()).get(HEADER, "")
    if isinstance(sent, str) and ACCEPTED.fullmatch(sent):
        return sent
    return context.peer().rpartition(":")[0]

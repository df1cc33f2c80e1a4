"""Stub services for the tests of whoever calls unCLIP: real sockets and contracts, no networks, no torch.

A whole stack in a test, gateway included, in well under a second::

    with BlockingStubStack() as stack:
        client = unclip.Client(stack.address)
        stack.decoder.faults.step_seconds = 0.5
        ...
        [asked] = stack.decoder.requests(DecodeRequest)

`StubStack` is the same for asyncio; ``pytest_plugins = ["unclip.testing.fixtures"]`` gives pytest the fixture
``unclip_stack``; ``python -m unclip.testing`` runs the stubs as a process. All this needs ``unclip[server]``, and with
the gateway ``unclip-services``, which brings it. Stubs read requests as the services do,
and so refuse exactly what they refuse; the contract suite of the project runs every test against both.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from unclip.extras import explained

if TYPE_CHECKING:
    from unclip.testing.blocking import BlockingStubStack
    from unclip.testing.decoder import StubDecoder, StubUpsampler
    from unclip.testing.encoder import StubEncoder
    from unclip.testing.faults import Faults
    from unclip.testing.model import StubModel
    from unclip.testing.prior import StubPrior
    from unclip.testing.stack import GatewayServer, StubStack, StubStages
    from unclip.testing.stub import Asked, Stub

__all__ = [
    "Asked",
    "BlockingStubStack",
    "Faults",
    "GatewayServer",
    "Stub",
    "StubDecoder",
    "StubEncoder",
    "StubModel",
    "StubPrior",
    "StubStack",
    "StubStages",
    "StubUpsampler",
]

_HOMES = {
    "Asked": "stub",
    "BlockingStubStack": "blocking",
    "Faults": "faults",
    "GatewayServer": "stack",
    "Stub": "stub",
    "StubDecoder": "decoder",
    "StubEncoder": "encoder",
    "StubModel": "model",
    "StubPrior": "prior",
    "StubStack": "stack",
    "StubStages": "stack",
    "StubUpsampler": "decoder",
}


def __getattr__(name: str) -> object:
    # Imported when first used: ``python -m unclip.testing`` comes through here before it has silenced gRPC.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with explained():
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

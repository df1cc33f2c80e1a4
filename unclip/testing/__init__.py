"""Stub services for the tests of whoever calls unCLIP: real sockets and contracts, no networks, no torch.

A whole stack in a test, gateway included, in well under a second::

    with BlockingStubStack() as stack:
        client = unclip.Client(stack.address)
        stack.decoder.faults.step_seconds = 0.5
        ...
        [asked] = stack.decoder.requests(DecodeRequest)

`StubStack` is the same for asyncio; ``pytest_plugins = ["unclip.testing.fixtures"]`` gives pytest the fixture
``unclip_stack``; ``python -m unclip.testing`` runs the stubs as a process. Stubs read requests as the services do,
and so refuse exactly what they refuse; the contract suite of the project runs every test against both.
"""

from __future__ import annotations

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

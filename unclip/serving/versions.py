"""How a service's health says which version of its model it serves, and callers find the replicas that have it.

A channel whose health check names a version leaves out, in gRPC's core, every replica that does not know the name: it
says SERVICE_UNKNOWN. So one name of a headless Service may stand for replicas of two versions while weights are
replaced, and no call has to be sent in order to learn that it came to the wrong one.
"""

from __future__ import annotations


def health_name(service: str, version: str = "") -> str:
    """The name whose health says whether ``service`` serves ``version``; with none, whether it serves at all."""
    return f"{service}/{version}" if version else service

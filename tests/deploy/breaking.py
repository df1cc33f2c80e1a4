"""How a sound release is broken, for rules to notice."""

from __future__ import annotations

from collections.abc import Callable

from tests.deploy.chart import Object, named
from tests.deploy.rules import Rule
from tests.deploy.variants import SWITCHES, merged

Break = Callable[[list[Object]], object]
Case = tuple[Rule, str, Break, str]  # the rule, what is wrong, who does it, what the rule says of it
EVERYTHING = merged(
    SWITCHES["keda"],
    SWITCHES["triton"],
    SWITCHES["route over tls"],
    SWITCHES["gpu"],
    SWITCHES["tls by cert-manager"],
    SWITCHES["service monitor"],
    {"web": {"enabled": True, "settings": {"store": "s3://pictures"}, "ingress": {"enabled": True, "hosts": ["a.b"]}}},
    {"networkPolicy": {"clients": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}}]}},
    {"tls": {"clients": {"required": True, "allowedIdentities": ["spiffe://shop/front"]}}},
)


def deployment(objects: list[Object], name: str) -> Object:
    return named(objects, "Deployment", f"unclip-{name}")


def pod(objects: list[Object], name: str) -> Object:
    return dict(deployment(objects, name)["spec"]["template"])


def of(objects: list[Object], name: str) -> Object:
    """The container of a service."""
    spec: Object = pod(objects, name)["spec"]["containers"][0]
    return spec


def variable(objects: list[Object], name: str, key: str, value: str) -> None:
    """Sets an environment variable of a service."""
    entries = of(objects, name)["env"]
    entries[:] = [entry for entry in entries if entry["name"] != key] + [{"name": key, "value": value}]


def without(objects: list[Object], name: str, key: str) -> None:
    """Takes an environment variable from a service."""
    entries = of(objects, name)["env"]
    entries[:] = [entry for entry in entries if entry["name"] != key]


def policy(objects: list[Object], name: str) -> Object:
    spec: Object = named(objects, "NetworkPolicy", f"unclip-{name}")["spec"]
    return spec

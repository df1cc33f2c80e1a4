"""Every variant of the chart on a real API server: installed, scaled, secured, taken back, taken away."""

from __future__ import annotations

import pytest

from tests.cluster.control_plane import Api
from tests.cluster.releases import Release, gone
from tests.deploy.chart import Object, Values
from tests.deploy.variants import merged, variants

SCALED: Values = {
    "defaults": {"autoscaling": {"kind": "keda"}},
    **{name: {"autoscaling": {"kind": "keda"}} for name in ("stages", "encoder", "prior", "decoder", "upsampler")},
    "gateway": {"autoscaling": {"kind": "keda"}},
    "web": {"autoscaling": {"kind": "keda"}, "settings": {"store": "s3://pictures"}},
}
SECURED: Values = {"tls": {"enabled": True}, "grpcRoute": {"backendTls": {"caConfigMap": "ca"}}}
VARIANTS = variants()


def fixed(values: Values, replicas: dict[str, int]) -> Values:
    """The variant without scaling, its replicas as they are now."""
    none = {"autoscaling": {"kind": "none"}}
    each = {name: {**none, "replicas": count} for name, count in replicas.items()}
    return dict(merged(values, {"defaults": none, "stages": none}, each))


@pytest.mark.parametrize("values", VARIANTS.values(), ids=VARIANTS)
def test_a_variant_lives_its_life(release: Release, api: Api, values: Values) -> None:
    release.install(values)
    before = release.replicas()
    assert set(before) >= {"gateway", "encoder", "prior", "decoder"}

    release.upgrade(values, SCALED)
    release.keda()
    assert at_least(release.replicas(), before)
    release.scale("decoder", 9)
    scaled = release.upgrade(values, SCALED)
    now = {**release.replicas(), "decoder": 9}
    assert at_least(release.replicas(), {**before, "decoder": 9})

    release.upgrade(fixed(values, now))
    release.keda()
    assert release.replicas() == now
    release.upgrade(fixed(values, now), SECURED)
    assert release.replicas() == now
    assert all("tls" in volumes(found) for found in release.deployments())
    release.rollback(scaled)
    assert release.replicas() == now

    release.uninstall()
    assert gone(api, release.namespace)


def at_least(found: dict[str, int], before: dict[str, int]) -> bool:
    """Whether no service has fewer replicas."""
    return all(found[name] >= count for name, count in before.items())


def volumes(found: Object) -> set[str]:
    """Names of a Deployment's volumes."""
    return {volume["name"] for volume in found["spec"]["template"]["spec"]["volumes"]}

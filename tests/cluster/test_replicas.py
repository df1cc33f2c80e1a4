"""Whatever is switched on or off in a running release, no pool falls below what ran."""

from __future__ import annotations

import helm_python
import pytest

from tests.cluster.releases import Release
from tests.deploy.chart import Values

QUICKLY = {"rollout": {"maxSurge": "100%", "minReadySeconds": 0}}
TEN: Values = {"defaults": QUICKLY, "decoder": {"replicas": 10}, "gateway": {"replicas": 2}, "prior": {"replicas": 3}}
BEFORE = {"decoder": 10, "gateway": 2, "prior": 3, "encoder": 1, "upsampler": 1}
KEDA: Values = {"defaults": {"autoscaling": {"kind": "keda", "maxReplicas": 20}}}  # more than is ever set below
HPA: Values = {"defaults": {"autoscaling": {"kind": "hpa", "maxReplicas": 20}}, "hpa": {"metric": "cpu"}}
ANOTHER: Values = {"logs": {"level": "WARNING"}}


@pytest.mark.parametrize("scaling", [KEDA, HPA], ids=["keda", "hpa"])
def test_switching_scaling_on_and_off_keeps_what_runs(release: Release, scaling: Values) -> None:
    release.install(TEN)
    assert release.settle() == BEFORE
    seen = [release.replicas()]
    release.upgrade(TEN, scaling)
    release.keda()
    seen.append(release.replicas())
    assert release.settle() == BEFORE
    release.upgrade(TEN, scaling, ANOTHER)
    seen.append(release.replicas())
    assert release.settle() == BEFORE
    release.upgrade(TEN, ANOTHER)
    release.keda()
    seen.append(release.replicas())
    assert release.settle() == BEFORE
    assert seen == [BEFORE] * 4


def test_what_the_scaler_has_set_stays_through_upgrades_rollbacks_and_the_end_of_scaling(release: Release) -> None:
    release.install(TEN)
    release.upgrade(TEN, KEDA)
    release.keda()
    release.scale("decoder", 14)
    release.scale("encoder", 4)
    now = {**BEFORE, "decoder": 14, "encoder": 4}
    scaled = release.upgrade(TEN, KEDA)
    assert release.replicas() == now
    release.scale("decoder", 17)
    release.upgrade(TEN, KEDA, ANOTHER)
    now["decoder"] = 17
    assert release.replicas() == now
    release.rollback(scaled)
    assert release.replicas() == now
    release.upgrade(TEN)
    release.keda()
    assert release.replicas() == now
    assert release.settle() == now


def test_the_first_replicas_of_a_scaled_release_are_its_scalers(release: Release) -> None:
    release.install(KEDA, {"decoder": {"autoscaling": {"minReplicas": 2}}})
    release.keda()
    release.scale("decoder", 2)
    release.upgrade(KEDA, {"decoder": {"autoscaling": {"minReplicas": 2}}}, ANOTHER)
    assert release.replicas()["decoder"] == 2
    release.scale("decoder", 6)
    release.rollback(1)
    assert release.replicas()["decoder"] == 6


def test_going_back_over_the_switch_takes_nothing_away(release: Release) -> None:
    release.install(TEN)
    release.upgrade(TEN, KEDA)
    release.keda()
    release.rollback(1)
    release.keda()
    assert release.replicas() == BEFORE
    release.upgrade(TEN, KEDA)
    release.keda()
    release.scale("decoder", 14)
    with pytest.raises(helm_python.HelmError, match=r"conflict with \"kube-controller-manager\".*\.spec\.replicas"):
        release.rollback(1)
    assert release.replicas() == {**BEFORE, "decoder": 14}
    release.upgrade(TEN)
    assert release.replicas() == {**BEFORE, "decoder": 14}


def test_a_revision_from_before_the_scaler_acted_is_not_gone_back_to_and_one_from_after_is(release: Release) -> None:
    release.install(TEN)
    switched = release.upgrade(TEN, KEDA)
    release.keda()
    for name, count in (("decoder", 14), ("gateway", 3), ("prior", 4), ("encoder", 2), ("upsampler", 2)):
        release.scale(name, count)
    now = release.replicas()
    after = release.upgrade(TEN, KEDA)
    release.upgrade(TEN, KEDA, ANOTHER)
    with pytest.raises(helm_python.HelmError, match=r"conflict with \"kube-controller-manager\".*\.spec\.replicas"):
        release.rollback(switched)
    assert release.replicas() == now
    release.scale("decoder", 15)
    release.rollback(after)
    assert release.replicas() == {**now, "decoder": 15}


def test_a_smallest_number_above_what_runs_is_reached_at_once(release: Release) -> None:
    release.install(TEN)
    release.upgrade(TEN, KEDA, {"gateway": {"autoscaling": {"minReplicas": 4}}})
    assert release.replicas() == {**BEFORE, "gateway": 4}

"""The kinds of custom objects that the chart's variants have, made known to an API server.

It takes any field of them: which fields there are is looked at by `tests.deploy.test_chart`.
"""

from __future__ import annotations

import time

from tests.cluster.control_plane import PATIENCE_S, Api

KINDS = {  # by kind: group, version, plural
    "ScaledObject": ("keda.sh", "v1alpha1", "scaledobjects"),
    "Certificate": ("cert-manager.io", "v1", "certificates"),
    "GRPCRoute": ("gateway.networking.k8s.io", "v1", "grpcroutes"),
    "BackendTLSPolicy": ("gateway.networking.k8s.io", "v1", "backendtlspolicies"),
    "ServiceMonitor": ("monitoring.coreos.com", "v1", "servicemonitors"),
    "PodMonitor": ("monitoring.coreos.com", "v1", "podmonitors"),
    "PrometheusRule": ("monitoring.coreos.com", "v1", "prometheusrules"),
}


def define(api: Api) -> None:
    """Defines them all, and waits until they are served."""
    for kind, (group, version, plural) in KINDS.items():
        schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
        served = {"name": version, "served": True, "storage": True, "schema": schema}
        metadata = {
            "name": f"{plural}.{group}",
            "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"},
        }
        names = {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"}
        spec = {"group": group, "scope": "Namespaced", "names": names, "versions": [served]}
        definition = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        api.create(path, {**definition, "metadata": metadata, "spec": spec})
    end = time.monotonic() + PATIENCE_S
    for group, version, plural in KINDS.values():
        while plural not in [found["name"] for found in resources(api, f"/apis/{group}/{version}")]:
            if time.monotonic() > end:
                raise RuntimeError(f"{plural} are not served")
            time.sleep(0.2)


def resources(api: Api, path: str) -> list[dict[str, str]]:
    """The kinds of objects that are served below a path."""
    import httpx

    try:
        return list(api.get(path)["resources"])
    except httpx.HTTPStatusError:
        return []

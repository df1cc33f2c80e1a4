"""The values by which the chart is rendered: one switch each, the examples, all together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from tests.deploy.chart import ROOT, Values

EXAMPLES = sorted((ROOT / "deploy" / "helm" / "examples").glob("*.yaml"))
DIGEST = "sha256:" + "ab" * 32

DIGESTS: Values = {"image": {name: {"digest": DIGEST} for name in ("gateway", "modelCpu", "modelCuda")}}
# A container that nobody could object to.
BESIDE: Values = {
    "image": f"busybox@{DIGEST}",
    "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "16Mi"}},
    "securityContext": {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    },
}
# One switch each, and all together: what a switch breaks shows alone, and what two break together too.
SWITCHES: Mapping[str, Values] = {
    "digests": DIGESTS,
    "one pool": {"upsampler": {"enabled": False}},
    "keda": {"defaults": {"autoscaling": {"kind": "keda"}}},
    "hpa": {"defaults": {"autoscaling": {"kind": "hpa"}}},
    "hpa on cpu": {"defaults": {"autoscaling": {"kind": "hpa"}}, "hpa": {"metric": "cpu"}},
    "gpu": {"stages": {"gpu": {"count": 2}, "runtimeClassName": "nvidia", "nodeSelector": {"gpu": "yes"}}},
    "tls": {"tls": {"enabled": True}},
    "tls by name": {
        "tls": {
            "enabled": True,
            "secrets": {"prior": "its-own", "toStages": "inner"},
            "allowedIdentities": ["one.example.com", "two"],
            "clients": {"required": True, "allowedIdentities": ["spiffe://shop/front"]},
        }
    },
    "tls by cert-manager": {
        "tls": {
            "enabled": True,
            "secrets": {"prior": "its-own"},
            "certManager": {
                "enabled": True,
                "issuer": {"name": "pictures-ca"},
                "gatewayNames": ["pictures.example.com"],
            },
        }
    },
    "api keys": {"apiKeys": {"enabled": True, "secretName": "callers"}},
    "c2pa": {"c2pa": {"enabled": True, "secretName": "signing"}},
    "json logs": {"logs": {"format": "json", "level": "WARNING"}},
    "reflection": {"reflection": "off"},
    "tracing": {"tracing": {"enabled": True}},
    "weights as image": {
        "weights": {
            "source": "image",
            "folder": "karlo",
            "image": {"reference": "registry.example.com/weights", "digest": DIGEST},
        }
    },
    "weights from a claim": {"weights": {"source": "claim", "claim": {"name": "weights"}}},
    "weights by download": {
        "weights": {
            "source": "download",
            "download": {"url": "https://weights.example.com/karlo.tar", "sha256": "cd" * 32},
        }
    },
    "route": {
        "grpcRoute": {
            "enabled": True,
            "parentRefs": [{"name": "public", "namespace": "ingress", "sectionName": "grpc"}],
            "hostnames": ["pictures.example.com"],
            "annotations": {"a": "b"},
        }
    },
    "service monitor": {
        "monitoring": {key: {"enabled": True} for key in ("serviceMonitor", "alerts", "dashboard")},
    },
    "pod monitor": {"monitoring": {"podMonitor": {"enabled": True, "labels": {"release": "prometheus"}}}},
    "known clients": {
        "networkPolicy": {"clients": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}}]}
    },
    "open network": {"networkPolicy": {"enabled": False}},
    "load balancer": {
        "gateway": {
            "service": {"type": "LoadBalancer", "port": 443, "loadBalancerSourceRanges": ["192.0.2.0/24"]},
            "settings": {"max_request_bytes": 16777216, "default_deadline": 20.5, "max_deadline": 120.5},
        }
    },
    "every field of a pod": {
        "commonLabels": {"team": "pictures"},
        "image": {"registry": "registry.example.com/team/", "pullSecrets": ["pull"], "pullPolicy": "Always"},
        "defaults": {
            "podAnnotations": {"a": "b"},
            "podLabels": {"app.kubernetes.io/component": "mine", "tier": "back"},
            "serviceAccountAnnotations": {"c": "d"},
            "priorityClassName": "high",
            "tolerations": [{"key": "k", "operator": "Exists"}],
            "affinity": {"podAntiAffinity": {}},
            "env": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": 1000},
            "stop": {"preStopSeconds": 0, "drainSeconds": 20},
            "settings": {"max_connection_age": 30},
        },
        "stages": {"settings": {"queue_limit": 12}},
        "decoder": {"settings": {"capacity": 24, "max_deadline": 90}},
    },
    "web": {"web": {"enabled": True}},
    "web before the world": {
        "web": {
            "enabled": True,
            "autoscaling": {"kind": "hpa"},
            "settings": {"store": "s3://pictures/made", "public_url": "https://img.example.com"},
            "store": {"secretName": "bucket", "port": 9000},
            "service": {"type": "LoadBalancer", "port": 443},
            "ingress": {
                "enabled": True,
                "className": "nginx",
                "hosts": ["img.example.com"],
                "tlsSecret": "img",
                "annotations": {"nginx.ingress.kubernetes.io/proxy-body-size": "24m"},
            },
        },
        "networkPolicy": {"clients": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "in"}}}]},
    },
    "web over tls": {
        "web": {"enabled": True},
        "tls": {
            "enabled": True,
            "clients": {"required": True, "allowedIdentities": ["spiffe://shop/front"]},
            "certManager": {"enabled": True, "issuer": {"name": "pictures-ca"}},
        },
    },
    "triton": {
        "decoder": {"settings": {"network": "decoder=triton://triton.models.svc:8001/decoder"}},
        "upsampler": {
            "settings": {
                "network": "upsampler=triton://192.0.2.7:9001/one,upsampler_last=triton://triton.models.svc.a.b:8001/two"
            }
        },
    },
    "tls that lets plaintext in": {"tls": {"enabled": True, "mode": "permissive"}, "web": {"enabled": True}},
    "tls with trust and identities apart": {
        "tls": {
            "enabled": True,
            "trust": {"configMap": "two-authorities"},
            "allowedIdentitiesFrom": {"configMap": "callers"},
            "clients": {"required": True, "allowedIdentitiesFrom": {"configMap": "shops", "key": "names"}},
        }
    },
    "route over tls": {
        "tls": {"enabled": True, "certManager": {"enabled": True, "issuer": {"name": "pictures-ca"}}},
        "grpcRoute": {"enabled": True, "parentRefs": [{"name": "public"}], "backendTls": {"caConfigMap": "ca"}},
    },
    "dns elsewhere": {
        "clusterDomain": "example.internal",
        "networkPolicy": {
            "dnsPorts": [53, 5353],
            "dnsPeers": [{"ipBlock": {"cidr": "169.254.20.10/32"}}],
            "extraEgress": [{"ports": [{"protocol": "TCP", "port": 3128}]}],
            "extraIngress": [{"from": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}],
        },
    },
    "weights from a claim of ours": {
        "weights": {
            "source": "claim",
            "claim": {
                "create": True,
                "storageClassName": "nfs",
                "dataSource": {"kind": "PersistentVolumeClaim", "name": "karlo"},
            },
        }
    },
    "weights by download with a token": {
        "weights": {
            "source": "download",
            "download": {
                "url": "https://weights.example.com:8443/karlo.tar",
                "sha256": "cd" * 32,
                "token": {"secretName": "hub", "key": "HF_TOKEN"},
            },
        }
    },
    "keda with credentials": {
        "stages": {"autoscaling": {"kind": "keda"}},
        "keda": {
            "authenticationRef": {"name": "prometheus", "kind": "ClusterTriggerAuthentication"},
            "triggerMetadata": {"authModes": "bearer"},
        },
    },
    "what teams add": {
        "defaults": {
            "serviceAccount": {"create": False, "name": "there-already"},
            "podSecurityContext": {"runAsUser": 4000, "supplementalGroups": [5000]},
            "extraEnv": [
                {
                    "name": "OTEL_EXPORTER_OTLP_HEADERS",
                    "valueFrom": {"secretKeyRef": {"name": "collector", "key": "headers"}},
                }
            ],
            "envFrom": [{"configMapRef": {"name": "proxies", "optional": True}}],
            "dnsPolicy": "ClusterFirst",
            "dnsConfig": {"options": [{"name": "ndots", "value": "1"}]},
            "extraVolumes": [{"name": "bundle", "configMap": {"name": "cas"}}],
            "extraVolumeMounts": [{"name": "bundle", "mountPath": "/etc/ssl/extra", "readOnly": True}],
        },
        "decoder": {
            "extraInitContainers": [{"name": "look", **BESIDE}],
            "extraContainers": [{"name": "beside", **BESIDE}],
        },
        "extraObjects": [
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "cas"},
                "data": {"of": "{{ .Release.Name }}"},
            },
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: shop}\n",
        ],
    },
    "names of their own": {"fullnameOverride": "dalle", "nameOverride": "dalle"},
}


def merged(*values: Any) -> Any:
    """Values laid over each other as Helm lays them: maps key by key, all else replaced."""
    result: Any = {}
    for each in values:
        for key, value in each.items():
            both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
            result = {**result, key: merged(result[key], value) if both else value}
    return result


def examples() -> dict[str, Values]:
    """The example files by name."""
    return {path.stem: yaml.safe_load(path.read_text()) for path in EXAMPLES}


def variants() -> dict[str, Values]:
    """Everything that is rendered and checked, by name."""
    together = [
        SWITCHES[name]
        for name in (
            "digests",
            "keda",
            "gpu",
            "tls by cert-manager",
            "api keys",
            "c2pa",
            "json logs",
            "tracing",
            "weights by download",
        )
    ]
    more = [
        SWITCHES[name]
        for name in (
            "route over tls",
            "service monitor",
            "known clients",
            "every field of a pod",
            "web before the world",
        )
    ]
    return {"default": {}, **examples(), **SWITCHES, "all together": merged(*together, *more)}

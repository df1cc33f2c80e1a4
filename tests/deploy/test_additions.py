"""What a platform team adds to a release, or takes from it."""

from __future__ import annotations

import json
from typing import Any

import helm_python
import pytest

from deploy.settings_schema import SERVICES
from tests.deploy.chart import Object, Values, component, container, environment, named, of_kind, pods, render
from tests.deploy.variants import SWITCHES

ADDED = SWITCHES["what teams add"]


def pod(values: Values, name: str) -> dict[str, Any]:
    return dict(named(render(values), "Deployment", f"unclip-{name}")["spec"]["template"])


def egress(values: Values, name: str) -> list[Object]:
    return list(named(render(values), "NetworkPolicy", f"unclip-{name}")["spec"]["egress"])


def ports(rule: Object) -> set[int]:
    return {entry["port"] for entry in rule["ports"]}


def test_users_and_groups_can_be_chosen_and_left_out() -> None:
    for found in pods(render({})):
        assert found["spec"]["securityContext"].items() >= {"runAsUser": 10001, "fsGroup": 10001}.items()
    for found in pods(render(ADDED)):
        assert found["spec"]["securityContext"].items() >= {"runAsUser": 4000, "supplementalGroups": [5000]}.items()
        assert found["spec"]["securityContext"]["fsGroup"] == 10001
    without: Values = {"defaults": {"podSecurityContext": dict.fromkeys(["runAsUser", "runAsGroup", "fsGroup"])}}
    for found in pods(render(without)):
        assert set(found["spec"]["securityContext"]) == {"runAsNonRoot", "fsGroupChangePolicy", "seccompProfile"}


def test_containers_have_a_security_context_of_their_own() -> None:
    values: Values = {"gateway": {"securityContext": {"readOnlyRootFilesystem": False}}}
    assert container(pod(values, "gateway"))["securityContext"]["readOnlyRootFilesystem"] is False
    assert container(pod(values, "gateway"))["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container(pod(values, "prior"))["securityContext"]["readOnlyRootFilesystem"] is True


def test_variables_come_from_secrets_and_config_maps() -> None:
    found = container(pod(ADDED, "prior"))
    [entry] = [entry for entry in found["env"] if entry["name"] == "OTEL_EXPORTER_OTLP_HEADERS"]
    assert entry["valueFrom"]["secretKeyRef"] == {"name": "collector", "key": "headers"}
    assert found["envFrom"] == [{"configMapRef": {"name": "proxies", "optional": True}}]
    web: Values = {
        "web": {"enabled": True, "store": {"secretName": "bucket"}, "envFrom": [{"secretRef": {"name": "x"}}]}
    }
    assert container(pod(web, "web"))["envFrom"] == [{"secretRef": {"name": "bucket"}}, {"secretRef": {"name": "x"}}]


def test_a_variable_is_there_once_and_the_teams_own_wins() -> None:
    """Server-side apply refuses a container that has a variable twice."""
    own: Values = {
        "env": {"OTEL_TRACES_SAMPLER_ARG": "1", "HTTPS_PROXY": "http://one:3128"},
        "extraEnv": [
            {"name": "HTTPS_PROXY", "value": "http://two:3128"},
            {"name": "OTEL_SERVICE_NAME", "value": "mine"},
        ],
    }
    for name in SERVICES:
        found = container(pod({"defaults": own, "web": {"enabled": True}, "tracing": {"enabled": True}}, name))["env"]
        names = [entry["name"] for entry in found]
        assert sorted(set(names)) == sorted(names)
        variables = environment(pod({"defaults": own, "tracing": {"enabled": True}, "web": {"enabled": True}}, name))
        assert variables["OTEL_TRACES_SAMPLER_ARG"] == "1"
        assert variables["OTEL_SERVICE_NAME"] == "mine"
        assert variables["HTTPS_PROXY"] == "http://two:3128"
        assert variables["OTEL_EXPORTER_OTLP_PROTOCOL"] == "grpc"


def test_volumes_containers_and_dns_are_added() -> None:
    found = pod(ADDED, "decoder")["spec"]
    assert {"name": "bundle", "configMap": {"name": "cas"}} in found["volumes"]
    assert {"name": "bundle", "mountPath": "/etc/ssl/extra", "readOnly": True} in found["containers"][0]["volumeMounts"]
    assert [each["name"] for each in found["containers"]] == ["decoder", "beside"]
    assert [each["name"] for each in found["initContainers"]] == ["look"]
    assert (found["dnsPolicy"], found["dnsConfig"]) == (
        "ClusterFirst",
        {"options": [{"name": "ndots", "value": "1"}]},
    )
    assert [each["name"] for each in pod(ADDED, "prior")["spec"]["containers"]] == ["prior"]


def test_the_archive_of_weights_comes_before_other_init_containers() -> None:
    values = {**SWITCHES["weights by download"], "decoder": ADDED["decoder"]}
    assert [each["name"] for each in pod(values, "decoder")["spec"]["initContainers"]] == ["weights", "look"]


def test_a_service_account_that_is_there_is_taken_and_none_made() -> None:
    assert {pod(ADDED, name)["spec"]["serviceAccountName"] for name in SERVICES} == {"there-already"}
    assert of_kind(render(ADDED), "ServiceAccount") == []
    mine: Values = {"prior": {"serviceAccount": {"name": "mine"}}}
    assert pod(mine, "prior")["spec"]["serviceAccountName"] == "mine"
    assert named(render(mine), "ServiceAccount", "mine")
    none: Values = {"prior": {"serviceAccount": {"create": False}}}
    assert pod(none, "prior")["spec"]["serviceAccountName"] == "default"


def test_objects_are_added_and_filled_in() -> None:
    assert named(render(ADDED), "ConfigMap", "cas")["data"] == {"of": "unclip"}
    assert named(render(ADDED), "ConfigMap", "shop")


def test_keda_shows_prometheus_its_credentials() -> None:
    scaler = named(render(SWITCHES["keda with credentials"]), "ScaledObject", "unclip-prior")
    for trigger in scaler["spec"]["triggers"]:
        assert trigger["authenticationRef"] == {"name": "prometheus", "kind": "ClusterTriggerAuthentication"}
        assert trigger["metadata"]["authModes"] == "bearer"
    for trigger in named(render(SWITCHES["keda"]), "ScaledObject", "unclip-prior")["spec"]["triggers"]:
        assert "authenticationRef" not in trigger


def test_a_claim_is_made_kept_and_mounted() -> None:
    values = SWITCHES["weights from a claim of ours"]
    claim = named(render(values), "PersistentVolumeClaim", "unclip-weights")
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert claim["spec"] == {
        "accessModes": ["ReadOnlyMany"],
        "storageClassName": "nfs",
        "dataSource": {"kind": "PersistentVolumeClaim", "name": "karlo"},
        "resources": {"requests": {"storage": "20Gi"}},
    }
    [volume] = [each for each in pod(values, "prior")["spec"]["volumes"] if each["name"] == "weights"]
    assert volume["persistentVolumeClaim"] == {"claimName": "unclip-weights", "readOnly": True}
    assert of_kind(render(SWITCHES["weights from a claim"]), "PersistentVolumeClaim") == []


def test_a_download_shows_the_token_of_a_secret_to_nobody_but_its_init_container() -> None:
    values = SWITCHES["weights by download with a token"]
    [fetch] = pod(values, "prior")["spec"]["initContainers"]
    assert fetch["env"] == [
        {"name": "UNCLIP_WEIGHTS_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "HF_TOKEN"}}}
    ]
    assert "HF_TOKEN" not in json.dumps(pod(values, "prior")["spec"]["containers"])
    [fetch] = pod(SWITCHES["weights by download"], "prior")["spec"]["initContainers"]
    assert "env" not in fetch


def test_a_download_goes_by_the_proxy_and_trusts_the_authority_that_its_service_is_told_of() -> None:
    authority = {"name": "authority", "mountPath": "/etc/authority", "readOnly": True}
    proxies = {"configMapRef": {"name": "proxies"}}
    told: Values = {
        "env": {"HTTPS_PROXY": "http://proxy:3128", "SSL_CERT_FILE": "none"},
        "extraEnv": [{"name": "SSL_CERT_FILE", "value": "/etc/authority/ca.pem"}],
        "envFrom": [proxies],
        "extraVolumes": [{"name": "authority", "configMap": {"name": "authority"}}],
        "extraVolumeMounts": [authority],
    }
    [fetch] = pod({**SWITCHES["weights by download"], "prior": told}, "prior")["spec"]["initContainers"]
    assert fetch["env"] == [
        {"name": "HTTPS_PROXY", "value": "http://proxy:3128"},
        {"name": "SSL_CERT_FILE", "value": "/etc/authority/ca.pem"},
    ]
    assert fetch["envFrom"] == [proxies]
    assert authority in fetch["volumeMounts"]


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("https://weights.example.com/karlo.tar", 443),
        ("http://weights.example.com/karlo.tar", 80),
        ("https://weights.example.com:8443/karlo.tar", 8443),
        ("http://[2001:db8::1]/karlo:1.tar", 80),
        ("http://[2001:db8::1]:8080/karlo.tar", 8080),
    ],
)
def test_downloads_open_the_port_of_their_address_and_no_other(url: str, port: int) -> None:
    values: Values = {"weights": {"source": "download", "download": {"url": url, "sha256": "cd" * 32}}}
    dns, archive = egress(values, "prior")
    assert (ports(dns), ports(archive)) == ({53}, {port})
    assert "to" not in archive


def test_a_stage_reaches_the_tritons_that_run_its_networks_and_others_do_not() -> None:
    values = SWITCHES["triton"]
    dns, triton = egress(values, "decoder")
    assert (ports(dns), ports(triton)) == ({53}, {8001})
    assert triton["to"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "models"}}}]
    _, first, second = egress(values, "upsampler")
    assert (ports(first), "to" in first) == ({9001}, False)
    assert (ports(second), "to" in second) == ({8001}, True)
    assert egress(values, "prior") == []


@pytest.mark.parametrize("host", ["triton.models.svc", "triton-0.triton.models.svc", "triton.models.svc.cluster.local"])
def test_a_tritons_namespace_is_what_its_name_has_before_svc(host: str) -> None:
    _, triton = egress({"decoder": {"settings": {"network": f"decoder=triton://{host}:8001"}}}, "decoder")
    assert triton["to"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "models"}}}]


def test_dns_is_asked_where_and_at_the_ports_it_is() -> None:
    values = SWITCHES["dns elsewhere"]
    for name in ("gateway", "test"):
        asked, *rest = egress(values, name)
        assert asked["ports"] == [{"protocol": kind, "port": port} for port in (53, 5353) for kind in ("UDP", "TCP")]
        assert {"ipBlock": {"cidr": "169.254.20.10/32"}} in asked["to"]
        assert (name == "gateway") == any(ports(rule) == {3128} for rule in rest)
    assert egress(values, "prior") == [{"ports": [{"protocol": "TCP", "port": 3128}]}]
    into = named(render(values), "NetworkPolicy", "unclip-prior")["spec"]["ingress"]
    assert {"from": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]} in into


def test_services_are_called_by_their_whole_names() -> None:
    assert environment(pod({}, "gateway"))["UNCLIP_PRIOR"] == "dns:///unclip-prior.pictures.svc.cluster.local.:50052"
    found = environment(pod(SWITCHES["dns elsewhere"], "gateway"))["UNCLIP_DECODER"]
    assert found == "dns:///unclip-decoder.pictures.svc.example.internal.:50053"


def test_names_that_may_call_and_authorities_that_are_trusted_come_from_config_maps() -> None:
    values = SWITCHES["tls with trust and identities apart"]
    for name, folder, key in (("prior", "callers", "identities"), ("gateway", "shops", "names")):
        found = environment(pod(values, name))
        assert found["UNCLIP_ALLOWED_IDENTITIES_FILE"] == f"/etc/unclip/identities/{key}"
        assert found["UNCLIP_TLS_CA"] == "/etc/unclip/trust/ca.crt"
        volumes = {each["name"]: each for each in pod(values, name)["spec"]["volumes"]}
        assert volumes["identities"]["configMap"] == {"name": folder}
        assert volumes["trust"]["configMap"] == {"name": "two-authorities"}
    assert environment(pod(values, "gateway"))["UNCLIP_STAGE_TLS_CA"] == "/etc/unclip/trust/ca.crt"
    assert "UNCLIP_ALLOWED_IDENTITIES_FILE" not in environment(pod(SWITCHES["tls"], "prior"))


def test_web_is_let_in_by_the_gateway_wherever_the_names_of_callers_are_kept() -> None:
    kept: Values = {"required": True, "allowedIdentitiesFrom": {"configMap": "shops"}}
    web: Values = {"web": {"enabled": True}}
    found = environment(pod({"tls": {"enabled": True, "clients": kept}, **web}, "gateway"))
    assert found["UNCLIP_ALLOWED_IDENTITIES"] == "unclip-web-pods.pictures.svc"
    anyone = environment(pod({"tls": {"enabled": True, "clients": {"required": True}}, **web}, "gateway"))
    assert "UNCLIP_ALLOWED_IDENTITIES" not in anyone
    assert "UNCLIP_ALLOWED_IDENTITIES" not in environment(pod({"tls": {"enabled": True, "clients": kept}}, "gateway"))


def test_plaintext_is_let_in_beside_tls_only_when_told_to() -> None:
    values = SWITCHES["tls that lets plaintext in"]
    for name in SERVICES:
        assert environment(pod(values, name))["UNCLIP_TLS_MODE"] == "permissive"
        assert "UNCLIP_TLS_MODE" not in environment(pod(SWITCHES["tls"], name))
    assert environment(pod(values, "gateway"))["UNCLIP_STAGE_TLS_CA"]
    web = environment(pod(values, "web"))  # HTTP, until the mode is strict
    assert ("UNCLIP_TLS_CERT" in web, "UNCLIP_GATEWAY_TLS_CA" in web) == (False, True)


def test_a_route_to_pods_that_speak_tls_has_a_policy_that_says_so_or_is_refused() -> None:
    objects = render(SWITCHES["route over tls"])
    assert named(objects, "BackendTLSPolicy", "unclip")["spec"] == {
        "targetRefs": [{"group": "", "kind": "Service", "name": "unclip-gateway"}],
        "validation": {
            "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "ca"}],
            "hostname": "unclip-gateway.pictures.svc",
        },
    }
    assert of_kind(render(SWITCHES["route"]), "BackendTLSPolicy") == []
    with pytest.raises(helm_python.HelmError, match="would speak plaintext"):
        render({"tls": {"enabled": True}, "grpcRoute": {"enabled": True, "parentRefs": [{"name": "public"}]}})


def test_what_is_scaled_has_no_replicas_where_nobody_can_be_asked_what_runs() -> None:
    for kind in ("keda", "hpa"):
        scaled = of_kind(render({"stages": {"autoscaling": {"kind": kind}}}), "Deployment")
        fixed = {component(found) for found in scaled if "replicas" in found["spec"]}
        assert fixed == {"gateway"}
    once: Values = {"decoder": {"autoscaling": {"kind": "keda", "initialReplicas": 10}}}
    assert named(render(once), "Deployment", "unclip-decoder")["spec"]["replicas"] == 10

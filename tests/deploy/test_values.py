"""What a value does to a release, and which values are refused."""

from __future__ import annotations

import json
import re
from typing import Any

import helm_python
import pytest

from deploy.settings_schema import SCHEMA, SERVICES, filled
from tests.deploy.chart import CHART, Values, container, environment, named, of_kind, pods, render
from tests.deploy.variants import DIGEST, DIGESTS, SWITCHES, merged


def pod(values: Values, name: str) -> dict[str, Any]:
    return dict(named(render(values), "Deployment", f"unclip-{name}")["spec"]["template"])


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"repicas": 3}, "additional properties 'repicas' not allowed"),
        ({"decoder": {"repicas": 3}}, "additional properties 'repicas' not allowed"),
        ({"decoder": {"replicas": -1}}, "minimum: got -1, want 0"),
        ({"decoder": {"replicas": "3"}}, "got string, want integer"),
        ({"decoder": {"settings": {"capactiy": 3}}}, "additional properties 'capactiy' not allowed"),
        ({"decoder": {"settings": {"capacity": 0}}}, "minimum: got 0, want 1"),
        ({"decoder": {"settings": {"port": 1}}}, "additional properties 'port' not allowed"),
        ({"gateway": {"settings": {"capacity": 3}}}, "additional properties 'capacity' not allowed"),
        ({"gateway": {"enabled": False}}, "additional properties 'enabled' not allowed"),
        ({"defaults": {"env": {"UNCLIP_PORT": "1"}}}, "UNCLIP_PORT"),
        ({"defaults": {"rollout": {"maxSurge": 0}}}, "/defaults/rollout"),
        ({"defaults": {"autoscaling": {"kind": "magic"}}}, "/defaults/autoscaling/kind"),
        ({"defaults": {"autoscaling": {"saturation": 1.5}}}, "maximum: got 1.5, want 1"),
        ({"defaults": {"autoscaling": {"minReplicas": 0}}}, "minimum: got 0, want 1"),
        ({"defaults": {"gpu": {"resource": "gpu"}}}, "/defaults/gpu/resource"),
        ({"image": {"gateway": {"tag": "latest"}}}, "/image/gateway/tag"),
        ({"image": {"gateway": {"digest": "sha256:abc"}}}, "/image/gateway/digest"),
        ({"weights": {"source": "image"}}, "/weights/image/reference"),
        ({"weights": {"source": "claim"}}, "/weights/claim"),
        (
            {"weights": {"source": "download", "download": {"url": "https://x.example.com/a"}}},
            "/weights/download/sha256",
        ),
        ({"weights": {"source": "download", "download": {"url": "file:///a"}}}, "/weights/download/url"),
        ({"keda": {"cooldownSeconds": 360}}, "additional properties 'cooldownSeconds' not allowed"),
        ({"tls": {"enabled": True}, "grpcRoute": {"enabled": True, "parentRefs": [{"name": "a"}]}}, "speak plaintext"),
        ({"tls": {"mode": "lax"}}, "/tls/mode"),
        ({"defaults": {"extraEnv": [{"name": "UNCLIP_PORT", "value": "1"}]}}, "/defaults/extraEnv/0/name"),
        ({"decoder": {"settings": {"allowed_identities_file": "/x"}}}, "'allowed_identities_file' not allowed"),
        ({"decoder": {"dnsConfig": {"option": []}}}, "additional properties 'option' not allowed"),
        ({"networkPolicy": {"dnsPorts": [0]}}, "/networkPolicy/dnsPorts/0"),
        ({"monitoring": {"alerts": {"runbookUrl": "runbook"}}}, "/monitoring/alerts/runbookUrl"),
        ({"weights": {"folder": "../../etc"}}, "/weights/folder"),
        ({"web": {"ingress": {"enabled": True}}}, "/web/ingress/hosts"),
        ({"web": {"settings": {"gateway": "x:1"}}}, "additional properties 'gateway' not allowed"),
        ({"apiKeys": {"enabled": True}}, "/apiKeys/secretName"),
        ({"c2pa": {"enabled": True}}, "/c2pa/secretName"),
        ({"grpcRoute": {"enabled": True}}, "/grpcRoute/parentRefs"),
        ({"tracing": {"endpoint": "collector"}}, "/tracing/endpoint"),
        ({"tracing": {"sampledShare": 2}}, "maximum: got 2, want 1"),
        ({"logs": {"format": "xml"}}, "/logs/format"),
        ({"reflection": True}, "/reflection"),
        ({"tls": {"certManager": {"enabled": True}}}, "/tls/certManager/issuer/name"),
        ({"tls": {"allowedIdentities": ["a,b"]}}, "/tls/allowedIdentities/0"),
        ({"tls": {"secrets": {"gatway": "x"}}}, "additional properties 'gatway' not allowed"),
        ({"monitoring": {"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}}}, "/monitoring"),
    ],
    ids=json.dumps,
)
def test_a_wrong_value_is_refused_and_named(values: Values, told: str) -> None:
    with pytest.raises(helm_python.HelmError, match=re.escape(told)):
        render(values)


def test_the_schema_has_the_settings_of_the_services() -> None:
    schema = json.loads(SCHEMA.read_text())
    assert schema == filled(schema), "run `make chart`"


def test_every_value_of_the_chart_is_in_its_schema() -> None:
    with helm_python.Chart.load(CHART) as chart:
        assert set(chart.values) == set(json.loads(SCHEMA.read_text())["properties"]) - {"global"}


@pytest.mark.parametrize("service", SERVICES)
def test_what_services_decide_for_themselves_stays_theirs(service: str) -> None:
    """The chart sets what it has to, and leaves the services' own defaults alone."""
    chosen = {name.removeprefix("UNCLIP_").lower() for name in environment(pod({}, service)) if "UNCLIP" in name}
    stage = {"checkpoint", "device", "threads"} | ({"stages"} if service in ("decoder", "upsampler") else set())
    gateway = {"encoder", "prior", "decoder", "upsampler"}
    assert chosen == {"host", "port", "metrics", "log_level", "drain", "grace"} | (
        gateway if service == "gateway" else stage
    )


def test_a_services_own_values_win_over_those_of_stages_which_win_over_defaults() -> None:
    values = {
        "defaults": {"settings": {"max_deadline": 100}, "replicas": 3, "disruptionBudget": {"enabled": True}},
        "stages": {"settings": {"max_deadline": 200}},
        "decoder": {"settings": {"max_deadline": 50}, "replicas": 7, "disruptionBudget": {"enabled": False}},
        "gateway": {"replicas": 1},
    }
    objects = render(values)
    seen = {name: environment(pod(values, name))["UNCLIP_MAX_DEADLINE"] for name in SERVICES}
    assert seen == {"gateway": "100", "encoder": "200", "prior": "200", "upsampler": "200", "decoder": "50"}
    replicas = {found["metadata"]["name"]: found["spec"]["replicas"] for found in of_kind(objects, "Deployment")}
    assert replicas == {f"unclip-{name}": 3 for name in SERVICES} | {"unclip-decoder": 7, "unclip-gateway": 1}
    budgets = {found["metadata"]["name"] for found in of_kind(objects, "PodDisruptionBudget")}
    assert budgets == {f"unclip-{name}" for name in SERVICES} - {"unclip-decoder"}


def test_web_is_there_when_asked_for_and_of_one_replica_without_a_bucket() -> None:
    assert not [found for found in render({}) if "web" in found["metadata"]["name"]]
    one: Values = {"web": {"enabled": True}}
    assert container(pod(one, "web"))["image"] == "unclip-gateway:0.1.0"
    assert environment(pod(one, "web"))["UNCLIP_STORE_MIB"] == "512"
    for more in (
        {"replicas": 2},
        {"autoscaling": {"kind": "hpa"}},
        {"replicas": 2, "settings": {"store": "memory:///"}},
    ):
        with pytest.raises(helm_python.HelmError, match="must be a bucket"):
            render(merged(one, {"web": more}))
    several = merged(one, {"web": {"replicas": 2, "settings": {"store": "s3://pictures"}}})
    assert named(render(several), "Deployment", "unclip-web")["spec"]["replicas"] == 2


def test_the_settings_of_grpc_services_are_not_webs() -> None:
    values: Values = {"web": {"enabled": True}, "defaults": {"settings": {"max_connection_age": 30}}}
    assert "UNCLIP_MAX_CONNECTION_AGE" not in environment(pod(values, "web"))
    with pytest.raises(helm_python.HelmError, match="max_connection_age"):
        render({"web": {"enabled": True, "settings": {"max_connection_age": 30}}})


def test_zero_is_a_value() -> None:
    values = {"decoder": {"settings": {"queue_limit": 0}, "replicas": 0}}
    assert environment(pod(values, "decoder"))["UNCLIP_QUEUE_LIMIT"] == "0"
    assert named(render(values), "Deployment", "unclip-decoder")["spec"]["replicas"] == 0


def test_large_numbers_are_written_out() -> None:
    values = {"gateway": {"settings": {"max_request_bytes": 16777216, "max_deadline": 120.5}}}
    variables = environment(pod(values, "gateway"))
    assert (variables["UNCLIP_MAX_REQUEST_BYTES"], variables["UNCLIP_MAX_DEADLINE"]) == ("16777216", "120.5")
    assert variables["UNCLIP_GRACE"] == "121"


def test_a_digest_wins_over_a_tag_everywhere() -> None:
    values = merged(DIGESTS, SWITCHES["weights by download"], {"image": {"gateway": {"tag": "1.2.3"}}})
    images = [each["image"] for found in pods(render(values)) for each in found["spec"]["containers"]]
    images += [each["image"] for found in pods(render(values)) for each in found["spec"].get("initContainers", [])]
    assert len(images) == 10
    assert all(image.endswith(f"@{DIGEST}") for image in images)


def test_a_registry_stands_before_every_image() -> None:
    values = {"image": {"registry": "registry.example.com:5000/team/"}}
    images = {each["image"] for found in pods(render(values)) for each in found["spec"]["containers"]}
    team = "registry.example.com:5000/team/unclip"
    assert images == {f"{team}-gateway:0.1.0", f"{team}-model:0.1.0-cpu"}


def test_a_gpu_brings_the_cuda_image_and_changes_no_other_resource() -> None:
    plain: Values = {}
    gpu = {"decoder": {"gpu": {"count": 2}}}
    before, after = (container(pod(values, "decoder")) for values in (plain, gpu))
    assert after["image"] == "unclip-model:0.1.0-cuda"
    assert environment(pod(gpu, "decoder"))["UNCLIP_DEVICE"] == "cuda"
    assert container(pod(gpu, "prior")) == container(pod(plain, "prior"))
    for part in ("requests", "limits"):
        assert after["resources"][part] == before["resources"][part] | {"nvidia.com/gpu": 2}


def test_without_an_upsampler_the_decoder_does_its_work() -> None:
    values = SWITCHES["one pool"]
    assert environment(pod(values, "decoder"))["UNCLIP_STAGES"] == "decode,upsample"
    gateway = environment(pod(values, "gateway"))
    assert gateway["UNCLIP_UPSAMPLER"] == gateway["UNCLIP_DECODER"]
    assert not [found for found in render(values) if "upsampler" in found["metadata"]["name"]]


def test_weights_are_mounted_where_the_stages_look() -> None:
    assert environment(pod({}, "prior"))["UNCLIP_CHECKPOINT"] == "/opt/unclip/checkpoints/emoji"
    image = SWITCHES["weights as image"]
    assert environment(pod(image, "prior"))["UNCLIP_CHECKPOINT"] == "/weights/karlo"
    [volume] = [each for each in pod(image, "prior")["spec"]["volumes"] if each["name"] == "weights"]
    assert volume["image"]["reference"] == f"registry.example.com/weights@{DIGEST}"
    download = SWITCHES["weights by download"]
    assert environment(pod(download, "prior"))["UNCLIP_CHECKPOINT"] == "/weights"
    [fetch] = pod(download, "prior")["spec"]["initContainers"]
    assert fetch["command"][2:] == [
        "unclip.checkpoints.download",
        "https://weights.example.com/karlo.tar",
        "cd" * 32,
        "/weights",
    ]
    assert "initContainers" not in pod(download, "gateway")["spec"]


def test_tls_moves_probes_to_a_port_of_their_own_and_stages_know_their_caller() -> None:
    stage = pod(SWITCHES["tls"], "prior")
    assert {container(stage)[f"{kind}Probe"]["grpc"]["port"] for kind in ("startup", "readiness", "liveness")} == {
        50060
    }
    variables = environment(stage)
    assert variables["UNCLIP_HEALTH_LISTEN"] == "[::]:50060"
    assert variables["UNCLIP_ALLOWED_IDENTITIES"] == "unclip-gateway-pods.pictures.svc"
    named_ones = environment(pod(SWITCHES["tls by name"], "prior"))["UNCLIP_ALLOWED_IDENTITIES"]
    assert named_ones == "one.example.com,two"


def test_servers_listen_on_ipv6_and_ipv4_unless_they_are_told_otherwise() -> None:
    tls = SWITCHES["tls"]
    assert environment(pod(tls, "prior")).items() >= {
        "UNCLIP_HOST": "[::]", "UNCLIP_METRICS": "[::]:9090", "UNCLIP_HEALTH_LISTEN": "[::]:50060"
    }.items()  # fmt: skip
    assert environment(pod({**tls, "listen": "0.0.0.0"}, "prior"))["UNCLIP_METRICS"] == "0.0.0.0:9090"


def test_the_gateway_asks_callers_for_certificates_only_when_told_to() -> None:
    open_to_all = environment(pod(SWITCHES["tls"], "gateway"))
    assert not {"UNCLIP_TLS_CA", "UNCLIP_ALLOWED_IDENTITIES"} & set(open_to_all)
    assert open_to_all["UNCLIP_STAGE_TLS_CA"] == "/etc/unclip/tls/ca.crt"
    closed = environment(pod(SWITCHES["tls by name"], "gateway"))
    assert closed["UNCLIP_TLS_CA"] == "/etc/unclip/tls/ca.crt"
    assert closed["UNCLIP_ALLOWED_IDENTITIES"] == "spiffe://shop/front"
    assert closed["UNCLIP_STAGE_TLS_CERT"] == "/etc/unclip/to-stages/tls.crt"


def test_the_gateway_alone_has_what_pictures_are_signed_with() -> None:
    for name in SERVICES:
        found = pod(SWITCHES["c2pa"], name)
        files = {"UNCLIP_C2PA_CERTIFICATE": "/etc/unclip/c2pa/tls.crt", "UNCLIP_C2PA_KEY": "/etc/unclip/c2pa/tls.key"}
        assert (files.items() <= environment(found).items()) == (name == "gateway")
        assert ("signing" in json.dumps(found)) == (name == "gateway")


def test_every_service_has_a_secret_of_its_own() -> None:
    secrets = {
        name: each["secret"]["secretName"]
        for name in SERVICES
        for each in pod(SWITCHES["tls by name"], name)["spec"]["volumes"]
        if each["name"] == "tls"
    }
    assert secrets == {name: f"unclip-{name}-tls" for name in SERVICES} | {"prior": "its-own"}


def test_certificates_are_asked_for_where_no_secret_is_named() -> None:
    issued = {
        found["metadata"]["name"]: found["spec"]
        for found in of_kind(render(SWITCHES["tls by cert-manager"]), "Certificate")
    }
    assert set(issued) == {f"unclip-{name}" for name in SERVICES} - {"unclip-prior"}
    forms = ("", ".pictures", ".pictures.svc", ".pictures.svc.cluster.local")
    assert issued["unclip-gateway"]["dnsNames"] == [
        *(f"unclip-gateway{own}{form}" for own in ("-pods", "") for form in forms),
        "pictures.example.com",
    ]
    assert issued["unclip-encoder"]["dnsNames"] == [f"unclip-encoder{form}" for form in forms]
    assert issued["unclip-encoder"]["issuerRef"] == {"kind": "Issuer", "name": "pictures-ca"}


def test_fallback_stays_within_the_replicas_that_are_allowed() -> None:
    values = {"stages": {"autoscaling": {"kind": "keda", "minReplicas": 3, "maxReplicas": 5}}}
    scaler = named(render(values), "ScaledObject", "unclip-prior")
    behaviour = {"behavior": "currentReplicasIfHigher"}
    assert scaler["spec"]["fallback"] == {"failureThreshold": 3, "replicas": 3, **behaviour}
    one = {"stages": {"autoscaling": {"kind": "keda", "maxReplicas": 1}}}
    assert named(render(one), "ScaledObject", "unclip-prior")["spec"]["fallback"]["replicas"] == 1


def test_a_new_version_of_the_chart_restarts_no_pod() -> None:
    labels = pod({}, "prior")["metadata"]["labels"]
    assert not {"helm.sh/chart", "app.kubernetes.io/version"} & set(labels)


def test_helm_test_gives_a_gateway_time_to_hear_of_its_stages() -> None:
    spec = named(render({}), "Pod", "unclip-test")["spec"]
    assert (spec["restartPolicy"], spec["activeDeadlineSeconds"]) == ("OnFailure", 120)


def test_only_named_clients_reach_the_gateway() -> None:
    policy = named(render(SWITCHES["known clients"]), "NetworkPolicy", "unclip-gateway")
    peers = policy["spec"]["ingress"][0]["from"]
    assert {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}} in peers
    assert len(peers) == 2  # and `helm test`

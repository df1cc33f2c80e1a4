"""Releases in which somebody finds nobody, or the wrong one, or the network lets too much through or too little."""

from __future__ import annotations

from tests.deploy import finding, network
from tests.deploy.breaking import Case, policy, variable, without
from tests.deploy.chart import named

BROKEN_WAYS: list[Case] = [
    (
        finding.web_finds_the_gateway,
        "another port",
        lambda o: variable(o, "web", "UNCLIP_GATEWAY", "dns:///unclip-gateway-pods.pictures.svc.cluster.local.:50051"),
        "does not listen on 50051",
    ),
    (
        finding.web_finds_the_gateway,
        "one address for all replicas",
        lambda o: variable(o, "web", "UNCLIP_GATEWAY", "dns:///unclip-gateway.pictures.svc.cluster.local.:50050"),
        "no headless Service",
    ),
    (
        finding.web_finds_the_gateway,
        "plaintext",
        lambda o: without(o, "web", "UNCLIP_GATEWAY_TLS_CA"),
        "do not agree on TLS",
    ),
    (
        finding.web_finds_the_gateway,
        "no certificate",
        lambda o: without(o, "web", "UNCLIP_GATEWAY_TLS_CERT"),
        "no certificate to show",
    ),
    (
        finding.web_finds_the_gateway,
        "an Ingress to all paths",
        lambda o: named(o, "Ingress", "unclip-web")["spec"]["rules"][0]["http"]["paths"][0].update(path="/"),
        "Ingress unclip-web leads to",
    ),
    (
        network.only_the_gateway_reaches_stages,
        "web shut out",
        lambda o: policy(o, "gateway")["ingress"][0]["from"].pop(1),
        "web cannot reach gateway",
    ),
    (
        finding.the_gateway_finds_every_stage,
        "an address without a Service",
        lambda o: variable(o, "gateway", "UNCLIP_PRIOR", "dns:///unclip-priors.pictures.svc.cluster.local.:50052"),
        "leads to no Service",
    ),
    (
        finding.the_gateway_finds_every_stage,
        "a name that resolvers complete",
        lambda o: variable(o, "gateway", "UNCLIP_PRIOR", "dns:///unclip-prior.pictures.svc:50052"),
        "leads to no Service",
    ),
    (
        finding.web_finds_the_gateway,
        "a name that resolvers complete",
        lambda o: variable(o, "web", "UNCLIP_GATEWAY", "dns:///unclip-gateway-pods.pictures.svc:50050"),
        "no headless Service",
    ),
    (
        finding.the_gateway_finds_every_stage,
        "another port",
        lambda o: variable(o, "gateway", "UNCLIP_PRIOR", "dns:///unclip-prior.pictures.svc.cluster.local.:50051"),
        "no pod listens on 50051",
    ),
    (
        finding.the_gateway_finds_every_stage,
        "a Service with an address of its own",
        lambda o: named(o, "Service", "unclip-prior")["spec"].pop("clusterIP"),
        "not headless",
    ),
    (
        finding.the_gateway_finds_every_stage,
        "a decoder that only upsamples",
        lambda o: variable(o, "decoder", "UNCLIP_STAGES", "upsample"),
        "do not decode",
    ),
    (
        network.network_is_closed_but_for_what_is_needed,
        "no default",
        lambda o: o.remove(named(o, "NetworkPolicy", "unclip-deny")),
        "open until a policy closes it",
    ),
    (
        network.network_is_closed_but_for_what_is_needed,
        "a policy of nobody",
        lambda o: policy(o, "prior")["podSelector"]["matchLabels"].update(x="y"),
        "unclip-prior selects no pod",
    ),
    (
        network.network_is_closed_but_for_what_is_needed,
        "a peer that is not there",
        lambda o: policy(o, "prior")["ingress"][0]["from"][0]["podSelector"]["matchLabels"].update(x="y"),
        "pods that are not there",
    ),
    (
        network.only_the_gateway_reaches_stages,
        "a stage that is shut off",
        lambda o: policy(o, "prior").update(ingress=[]),
        "gateway cannot reach prior",
    ),
    (
        network.only_the_gateway_reaches_stages,
        "a gateway that may not go out",
        lambda o: policy(o, "gateway").update(egress=[]),
        "gateway cannot reach upsampler",
    ),
    (
        network.only_the_gateway_reaches_stages,
        "stages that call each other",
        lambda o: [policy(o, "prior")["ingress"][0].pop("from"), policy(o, "encoder").update(egress=[{}])],
        "encoder reaches prior",
    ),
    (
        network.only_the_gateway_reaches_stages,
        "metrics for everyone",
        lambda o: [policy(o, "prior")["ingress"][1].pop("from"), policy(o, "gateway")["egress"].append({})],
        "gateway reads the metrics of prior",
    ),
    (
        finding.certificates_bear_the_names_that_are_called,
        "a name that nobody calls",
        lambda o: named(o, "Certificate", "unclip-decoder")["spec"].update(dnsNames=["decoder"]),
        "does not bear unclip-decoder.pictures.svc",
    ),
    (
        finding.certificates_bear_the_names_that_are_called,
        "only the name with svc behind it",
        lambda o: named(o, "Certificate", "unclip-decoder")["spec"].update(dnsNames=["unclip-decoder.pictures.svc"]),
        "does not bear unclip-decoder\n.*unclip-decoder.pictures\n.*unclip-decoder.pictures.svc.cluster.local",
    ),
    (
        finding.certificates_bear_the_names_that_are_called,
        "an identity that the gateway has not",
        lambda o: variable(o, "decoder", "UNCLIP_ALLOWED_IDENTITIES", "gateway"),
        "lets in gateway",
    ),
    (
        finding.certificates_bear_the_names_that_are_called,
        "a Secret that nobody reads",
        lambda o: named(o, "Certificate", "unclip-decoder")["spec"].update(secretName="other"),
        "goes to other",
    ),
    (
        network.what_lies_elsewhere_can_be_reached,
        "networks that run where the stage may not go",
        lambda o: policy(o, "decoder").update(egress=[]),
        "decoder may not reach triton.models.svc:8001",
    ),
    (
        network.what_lies_elsewhere_can_be_reached,
        "another namespace",
        lambda o: policy(o, "decoder")["egress"][1]["to"][0]["namespaceSelector"]["matchLabels"].update(
            {"kubernetes.io/metadata.name": "shop"}
        ),
        "decoder may not reach triton.models.svc:8001",
    ),
    (
        network.what_lies_elsewhere_can_be_reached,
        "a name that nobody answers",
        lambda o: policy(o, "decoder")["egress"].pop(0),
        "decoder may not ask DNS for triton.models.svc",
    ),
    (
        finding.routes_speak_as_their_backends_do,
        "plaintext to pods that speak TLS",
        lambda o: o.remove(named(o, "BackendTLSPolicy", "unclip")),
        "do not agree on TLS",
    ),
    (
        finding.routes_speak_as_their_backends_do,
        "a name that no certificate bears",
        lambda o: named(o, "BackendTLSPolicy", "unclip")["spec"]["validation"].update(hostname="pictures.example.org"),
        "does not bear pictures.example.org",
    ),
]

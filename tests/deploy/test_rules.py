"""Each rule about releases notices what it is there to notice."""

from __future__ import annotations

import pytest

from tests.deploy import rules
from tests.deploy.breaking import EVERYTHING, Break, Case, deployment, of, pod, variable
from tests.deploy.broken_ways import BROKEN_WAYS
from tests.deploy.chart import container, named, of_kind, pods, render

BROKEN_PODS: list[Case] = [
    (
        rules.probes_ask_what_the_service_answers,
        "HTTP in plaintext",
        lambda o: of(o, "web")["readinessProbe"]["httpGet"].update(scheme="HTTP"),
        "web: readinessProbe asks",
    ),
    (
        rules.probes_ask_what_the_service_answers,
        "no probe",
        lambda o: of(o, "prior").pop("readinessProbe"),
        "no gRPC readinessProbe",
    ),
    (
        rules.probes_ask_what_the_service_answers,
        "a closed port",
        lambda o: of(o, "prior")["livenessProbe"]["grpc"].update(port=1),
        "port 1, which is not open",
    ),
    (
        rules.probes_ask_what_the_service_answers,
        "another service's health",
        lambda o: of(o, "prior")["readinessProbe"]["grpc"].update(service="unclip.api.decoder.v1.DecoderService"),
        "not unclip.api.prior.v1.PriorService",
    ),
    (
        rules.probes_ask_what_the_service_answers,
        "a kubelet without a certificate",
        lambda o: of(o, "prior")["readinessProbe"]["grpc"].update(port=50052),
        "no certificate to show",
    ),
    (
        rules.resources_are_asked_for_and_bounded,
        "no bound on memory",
        lambda o: of(o, "encoder")["resources"]["limits"].pop("memory"),
        "bound memory",
    ),
    (
        rules.resources_are_asked_for_and_bounded,
        "more GPUs than asked for",
        lambda o: of(o, "encoder")["resources"]["limits"].update({"nvidia.com/gpu": 4}),
        "nvidia.com/gpu must be the same",
    ),
    (
        rules.selectors_find_pods,
        "a Service of nobody",
        lambda o: named(o, "Service", "unclip-prior")["spec"]["selector"].update(typo="x"),
        r"selects the pods of \[\]",
    ),
    (
        rules.selectors_find_pods,
        "a budget of everybody",
        lambda o: named(o, "PodDisruptionBudget", "unclip-prior")["spec"].update(selector={}),
        "selects the pods of .*decoder.*prior",
    ),
    (
        rules.selectors_find_pods,
        "spreading over others",
        lambda o: pod(o, "prior")["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"].update(x="y"),
        "spreads over pods that are not its own",
    ),
    (
        rules.every_port_of_a_service_is_open,
        "a port of nobody",
        lambda o: named(o, "Service", "unclip-prior")["spec"]["ports"][0].update(targetPort="http"),
        "no port http",
    ),
    (
        rules.settings_are_known_and_in_range,
        "a misspelt setting",
        lambda o: variable(o, "decoder", "UNCLIP_CAPACTIY", "3"),
        "nobody reads UNCLIP_CAPACTIY",
    ),
    (
        rules.settings_are_known_and_in_range,
        "a setting of another service",
        lambda o: variable(o, "prior", "UNCLIP_STAGES", "decode"),
        "prior: nobody reads UNCLIP_STAGES",
    ),
    (
        rules.settings_are_known_and_in_range,
        "a number as Go writes it",
        lambda o: variable(o, "decoder", "UNCLIP_MAX_REQUEST_BYTES", "1.6777216e+07"),
        "UNCLIP_MAX_REQUEST_BYTES must be int",
    ),
    (
        rules.stopping_outlasts_every_call,
        "an early kill",
        lambda o: pod(o, "decoder")["spec"].update(terminationGracePeriodSeconds=30),
        "killed after 30 s",
    ),
    (
        rules.stopping_outlasts_every_call,
        "calls that are cut off",
        lambda o: variable(o, "decoder", "UNCLIP_GRACE", "10"),
        "waits 10 s",
    ),
    (
        rules.callers_have_left_before_a_pod_says_that_it_does_not_serve,
        "connections that live too long",
        lambda o: variable(o, "gateway", "UNCLIP_MAX_CONNECTION_AGE", "300"),
        "gateway serves on for 13 s, its callers may be there for 331.0 s",
    ),
    (
        rules.callers_have_left_before_a_pod_says_that_it_does_not_serve,
        "a stage whose connections do",
        lambda o: variable(o, "decoder", "UNCLIP_MAX_CONNECTION_AGE", "60"),
        "decoder serves on for 5 s, its callers may be there for 60.0 s",
    ),
    (
        rules.new_pods_are_known_before_old_ones_go,
        "a hasty update",
        lambda o: deployment(o, "prior")["spec"].pop("minReadySeconds"),
        "old pods go before DNS tells",
    ),
    (
        rules.images_are_pinned,
        "latest",
        lambda o: of(o, "decoder").update(image="registry.example.com:5000/unclip-model:latest"),
        "no fixed version",
    ),
    (
        rules.images_are_pinned,
        "no tag",
        lambda o: of(o, "decoder").update(image="registry.example.com:5000/unclip-model"),
        "no fixed version",
    ),
    (
        rules.images_are_pinned,
        "half a digest",
        lambda o: of(o, "decoder").update(image="unclip-model@sha256:abc"),
        "no fixed version",
    ),
    (
        rules.scalers_have_their_target,
        "a scaler of nobody",
        lambda o: named(o, "ScaledObject", "unclip-prior")["spec"]["scaleTargetRef"].update(name="prior"),
        "scales prior, which is not there",
    ),
    (
        rules.scalers_have_their_target,
        "replicas that Helm and the scaler both set",
        lambda o: deployment(o, "prior")["spec"].update(replicas=3),
        "fixed or scaled",
    ),
    (
        rules.scalers_have_their_target,
        "fewer at most than at least",
        lambda o: named(o, "ScaledObject", "unclip-prior")["spec"].update(minReplicaCount=20),
        "from 20 to 10",
    ),
    (
        rules.monitors_find_metrics,
        "a Service that is not scraped",
        lambda o: named(o, "Service", "unclip-prior")["metadata"]["labels"].pop("unclip/metrics"),
        "ServiceMonitor finds",
    ),
    (
        rules.pods_are_restricted,
        "root",
        lambda o: pod(o, "prior")["spec"]["securityContext"].update(runAsUser=0),
        "prior may run as root",
    ),
    (
        rules.pods_are_restricted,
        "capabilities",
        lambda o: of(o, "prior")["securityContext"].update(capabilities={"drop": ["ALL"], "add": ["NET_ADMIN"]}),
        "keeps capabilities",
    ),
    (
        rules.pods_are_restricted,
        "a writable image",
        lambda o: of(o, "prior")["securityContext"].pop("readOnlyRootFilesystem"),
        "writes into its image",
    ),
    (
        rules.pods_are_restricted,
        "a folder of the node",
        lambda o: pod(o, "prior")["spec"]["volumes"].append({"name": "x", "hostPath": {"path": "/"}}),
        "hostPath",
    ),
    (
        rules.pods_have_no_token_and_no_service_links,
        "service links",
        lambda o: pod(o, "prior")["spec"].pop("enableServiceLinks"),
        "taken for settings",
    ),
    (
        rules.pods_have_no_token_and_no_service_links,
        "an account that is not there",
        lambda o: o.remove(named(o, "ServiceAccount", "unclip-prior")),
        "no ServiceAccount",
    ),
    (
        rules.mounts_have_volumes,
        "nowhere to write",
        lambda o: [volume.pop("emptyDir") for volume in pod(o, "prior")["spec"]["volumes"] if volume["name"] == "tmp"],
        "cannot write into /tmp",
    ),
    (
        rules.mounts_have_volumes,
        "certificates that are not mounted",
        lambda o: of(o, "prior")["volumeMounts"].pop(),
        "where nothing is mounted",
    ),
    (
        rules.names_are_unique_and_short,
        "a name twice",
        lambda o: o.append(named(o, "Service", "unclip-prior")),
        "there twice",
    ),
    (
        rules.scalers_that_see_nothing_take_nothing_away,
        "two replicas, whatever runs",
        lambda o: named(o, "ScaledObject", "unclip-prior")["spec"]["fallback"].pop("behavior"),
        "unclip-prior shrinks its pool",
    ),
    (
        rules.disruption_budgets_allow_one,
        "a node that nobody can drain",
        lambda o: named(o, "PodDisruptionBudget", "unclip-prior")["spec"].update(maxUnavailable=0),
        "no node be drained",
    ),
]
BROKEN = [*BROKEN_PODS, *BROKEN_WAYS]


@pytest.mark.parametrize(
    ("rule", "case", "break_it", "told"), BROKEN, ids=lambda value: getattr(value, "__name__", value)
)
def test_a_rule_notices(rule: rules.Rule, case: str, break_it: Break, told: str) -> None:
    objects = render(EVERYTHING)
    assert list(rule(objects)) == []
    break_it(objects)
    with pytest.raises(AssertionError, match=told):
        assert not list(rule(objects)), "\n".join(rule(objects))


def test_every_rule_has_something_that_it_notices() -> None:
    assert {rule for rule, *_ in BROKEN} == set(rules.RULES)


def test_there_is_something_to_rule_over() -> None:
    objects = render(EVERYTHING)
    assert len(pods(objects)) == 7
    assert len(of_kind(objects, "ScaledObject")) == 6
    assert all(container(each)["command"] for each in pods(objects))

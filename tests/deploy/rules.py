"""What must hold between the objects of a release, rule by rule; each yields a line for everything that breaks it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence

from gateway.app import WATCHED
from tests.deploy.chart import (
    Object,
    component,
    container,
    environment,
    labels_of,
    of_kind,
    pods,
    ports_of,
    selects,
    services_pods,
    settings_class,
)
from tests.deploy.finding import (
    certificates_bear_the_names_that_are_called,
    routes_speak_as_their_backends_do,
    the_gateway_finds_every_stage,
    web_finds_the_gateway,
)
from tests.deploy.network import (
    network_is_closed_but_for_what_is_needed,
    only_the_gateway_reaches_stages,
    what_lies_elsewhere_can_be_reached,
)
from unclip.api.gateway.v1 import gateway_pb2
from unclip.errors import ConfigurationError
from unclip.serving.settings import ServerSettings, parse

Rule = Callable[[Sequence[Object]], Iterator[str]]

GATEWAY = gateway_pb2.DESCRIPTOR.services_by_name["GatewayService"]
HEALTH: dict[str, str] = dict([*WATCHED.items(), ("gateway", GATEWAY.full_name)])
# Others that services may be given: the OpenTelemetry SDK's own, and the pod's name for its resource attributes.
LIBRARIES = re.compile(r"OTEL_[A-Z_]+|POD_NAME|GOMP_SPINCOUNT|OMP_WAIT_POLICY")
WRITABLE = ("/tmp", "/var/cache/unclip")
LONGEST_NAME = 63
SECONDS_TO_ADDRESS = 1  # until nodes know where a Service's address leads
SECONDS_TO_DNS = 4  # until DNS has told of new pods


def probes_ask_what_the_service_answers(objects: Sequence[Object]) -> Iterator[str]:
    for pod in services_pods(objects):
        if component(pod) == "web":
            yield from http_probes_ask_what_web_answers(pod)
            continue
        name, health = component(pod), HEALTH[component(pod)]
        for kind, asked in (("startupProbe", health), ("readinessProbe", health), ("livenessProbe", None)):
            probe = container(pod).get(kind, {}).get("grpc")
            if probe is None:
                yield f"{name} has no gRPC {kind}"
                continue
            if probe["port"] not in ports_of(pod).values():
                yield f"{name}: {kind} asks port {probe['port']}, which is not open"
            if probe.get("service") != asked:
                yield f"{name}: {kind} asks for {probe.get('service')}, not {asked}"
            if "UNCLIP_TLS_CERT" in environment(pod) and probe["port"] == ports_of(pod)["grpc"]:
                yield f"{name}: {kind} has no certificate to show at port {probe['port']}"


def http_probes_ask_what_web_answers(pod: Object) -> Iterator[str]:
    scheme = "HTTPS" if "UNCLIP_TLS_CERT" in environment(pod) else "HTTP"
    for kind, path in (("startupProbe", "/readyz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")):
        probe = container(pod).get(kind, {}).get("httpGet")
        if probe != {"path": path, "port": "http", "scheme": scheme}:
            yield f"web: {kind} asks {probe}, not {path} by {scheme}"


def resources_are_asked_for_and_bounded(objects: Sequence[Object]) -> Iterator[str]:
    for pod in pods(objects):
        for each in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]:
            requests, limits = each["resources"].get("requests", {}), each["resources"].get("limits", {})
            if not {"cpu", "memory"} <= set(requests) or "memory" not in limits:
                yield f"{each['name']} must ask for cpu and memory and bound memory; got {each['resources']}"
            for resource in set(requests) | set(limits):
                if "/" in resource and requests.get(resource) != limits.get(resource):
                    yield f"{each['name']}: {resource} must be the same in requests and limits"


def selectors_find_pods(objects: Sequence[Object]) -> Iterator[str]:
    """Of each object, those that it is about, and no others."""
    for found in of_kind(objects, "Deployment", "Service", "PodDisruptionBudget"):
        spec, name = found["spec"], f"{found['kind']} {found['metadata']['name']}"
        selector = {"matchLabels": spec["selector"]} if found["kind"] == "Service" else spec["selector"]
        chosen = [component(pod) for pod in pods(objects) if selects(selector, labels_of(pod))]
        if chosen != [component(found)]:
            yield f"{name} selects the pods of {chosen}"
    for pod in services_pods(objects):
        for constraint in pod["spec"].get("topologySpreadConstraints", []):
            if not selects(constraint["labelSelector"], labels_of(pod)):
                yield f"{component(pod)} spreads over pods that are not its own"


def every_port_of_a_service_is_open(objects: Sequence[Object]) -> Iterator[str]:
    for service in of_kind(objects, "Service"):
        for pod in services_pods(objects):
            if component(pod) != component(service):
                continue
            for port in service["spec"]["ports"]:
                if port["targetPort"] not in ports_of(pod):
                    yield f"Service {service['metadata']['name']}: no port {port['targetPort']} in the pods"


def settings_are_known_and_in_range(objects: Sequence[Object]) -> Iterator[str]:
    for pod in services_pods(objects):
        cls, variables = settings_class(pod), environment(pod)
        known = {f"UNCLIP_{field.name.upper()}" for field in dataclasses.fields(cls)}
        for variable in variables:
            if variable not in known and not LIBRARIES.fullmatch(variable):
                yield f"{component(pod)}: nobody reads {variable}"
        try:
            parse(cls, [], component(pod), {name: value for name, value in variables.items() if name in known})
        except ConfigurationError as error:
            yield f"{component(pod)}: {error}"


def stopping_outlasts_every_call(objects: Sequence[Object]) -> Iterator[str]:
    for pod in services_pods(objects):
        settings = parse(settings_class(pod), [], component(pod), environment(pod))
        before = container(pod).get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        needed, given = before + settings.drain + settings.grace, pod["spec"]["terminationGracePeriodSeconds"]
        if given <= needed:
            yield f"{component(pod)} is killed after {given} s but may need {needed:g} s to stop"
        if settings.grace < settings.max_deadline:
            yield f"{component(pod)} may take {settings.max_deadline:g} s for a call but waits {settings.grace:g} s"


def new_pods_are_known_before_old_ones_go(objects: Sequence[Object]) -> Iterator[str]:
    """The gateway asks DNS at most every 5 s, and cluster DNS answers from a cache of about as long."""
    for deployment in of_kind(objects, "Deployment"):
        spec = deployment["spec"]
        if spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0 and spec.get("minReadySeconds", 0) < 10:
            yield f"{deployment['metadata']['name']}: old pods go before DNS tells of new ones"


def callers_have_left_before_a_pod_says_that_it_does_not_serve(objects: Sequence[Object]) -> Iterator[str]:
    """Where its health is watched and it is the only one known, calls would fail. Connections end with their age, a
    tenth later at most. Who has one address for all pods finds another then; who asks DNS has heard of it before."""
    for deployment in of_kind(objects, "Deployment"):
        pod = deployment["spec"]["template"]
        if component(pod) == "web":
            continue
        settings = parse(settings_class(pod), [], component(pod), environment(pod))
        assert isinstance(settings, ServerSettings)
        before = container(pod).get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        age = 1.1 * settings.max_connection_age
        if component(pod) == "gateway":
            needed = age + SECONDS_TO_ADDRESS
        else:
            needed = age + SECONDS_TO_DNS - deployment["spec"].get("minReadySeconds", 0)
        if before < needed:
            yield f"{component(pod)} serves on for {before} s, its callers may be there for {needed:.1f} s"


def images_are_pinned(objects: Sequence[Object]) -> Iterator[str]:
    for pod in pods(objects):
        for each in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]:
            repository, _, version = each["image"].rpartition("/")[2].partition("@")
            tag = repository.partition(":")[2]
            if tag == "latest" or not (tag or re.fullmatch(r"sha256:[0-9a-f]{64}", version)):
                yield f"{each['name']}: {each['image']} names no fixed version"


def scalers_have_their_target(objects: Sequence[Object]) -> Iterator[str]:
    scaled = set()
    for scaler in of_kind(objects, "ScaledObject", "HorizontalPodAutoscaler"):
        spec, name = scaler["spec"], f"{scaler['kind']} {scaler['metadata']['name']}"
        scaled.add(spec["scaleTargetRef"]["name"])
        if spec["scaleTargetRef"]["name"] not in {d["metadata"]["name"] for d in of_kind(objects, "Deployment")}:
            yield f"{name} scales {spec['scaleTargetRef']['name']}, which is not there"
        least = spec.get("minReplicas", spec.get("minReplicaCount"))
        most = spec.get("maxReplicas", spec.get("maxReplicaCount"))
        if not 1 <= least <= most:
            yield f"{name}: from {least} to {most} replicas"
    for deployment in of_kind(objects, "Deployment"):
        if ("replicas" in deployment["spec"]) == (deployment["metadata"]["name"] in scaled):
            yield f"{deployment['metadata']['name']}: replicas must be fixed or scaled, one of both"


def monitors_find_metrics(objects: Sequence[Object]) -> Iterator[str]:
    for monitor in of_kind(objects, "ServiceMonitor", "PodMonitor"):
        selector, seen = monitor["spec"]["selector"], set()
        if monitor["kind"] == "ServiceMonitor":
            for service in of_kind(objects, "Service"):
                if selects(selector, labels_of(service)):
                    seen.add(component(service))
                    if "metrics" not in [port["name"] for port in service["spec"]["ports"]]:
                        yield f"Service {service['metadata']['name']} is scraped but has no port metrics"
        else:
            seen = {component(pod) for pod in pods(objects) if selects(selector, labels_of(pod))}
        if seen != {component(pod) for pod in services_pods(objects)}:
            yield f"{monitor['kind']} finds {sorted(seen)}"


def pods_are_restricted(objects: Sequence[Object]) -> Iterator[str]:
    """The restricted profile of Kubernetes' Pod Security Standards, and a read-only root besides."""
    for pod in pods(objects):
        spec, name = pod["spec"], component(pod)
        security = spec.get("securityContext", {})
        if not security.get("runAsNonRoot") or security.get("runAsUser") == 0:  # without a user: the platform's choice
            yield f"{name} may run as root"
        if security.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{name} has no seccomp profile"
        for shared in ("hostNetwork", "hostPID", "hostIPC"):
            if spec.get(shared):
                yield f"{name} has {shared}"
        for volume in spec.get("volumes", []):
            if not set(volume) - {"name"} <= {"emptyDir", "secret", "persistentVolumeClaim", "configMap", "image"}:
                yield f"{name} mounts {volume}"
        for each in [*spec.get("initContainers", []), *spec["containers"]]:
            own = each.get("securityContext", {})
            if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
                yield f"{name}: {each['name']} may gain privileges"
            if own.get("capabilities") != {"drop": ["ALL"]}:
                yield f"{name}: {each['name']} keeps capabilities"
            if own.get("readOnlyRootFilesystem") is not True:
                yield f"{name}: {each['name']} writes into its image"


def pods_have_no_token_and_no_service_links(objects: Sequence[Object]) -> Iterator[str]:
    accounts = {found["metadata"]["name"]: found for found in of_kind(objects, "ServiceAccount")}
    for pod in pods(objects):
        if pod["spec"].get("automountServiceAccountToken") is not False:
            yield f"{component(pod)} gets a token"
        if pod["spec"].get("enableServiceLinks") is not False:
            yield f"{component(pod)}: variables of Services would be taken for settings"
    for pod in services_pods(objects):
        account = accounts.get(pod["spec"].get("serviceAccountName", ""))
        # Where none is made, it is another's, and the pod itself asks for no token.
        if accounts and (account is None or account["automountServiceAccountToken"] is not False):
            yield f"{component(pod)} has no ServiceAccount without a token"


def mounts_have_volumes(objects: Sequence[Object]) -> Iterator[str]:
    for pod in pods(objects):
        volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}
        mounted = set()
        for each in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]:
            for mount in each.get("volumeMounts", []):
                mounted.add(mount["name"])
                if mount["name"] not in volumes:
                    yield f"{component(pod)}: {each['name']} mounts {mount['name']}, which is no volume"
        for unused in set(volumes) - mounted:
            yield f"{component(pod)}: nobody mounts {unused}"
    for pod in services_pods(objects):
        places = {mount["mountPath"]: mount["name"] for mount in container(pod).get("volumeMounts", [])}
        emptied = [volume["name"] for volume in pod["spec"]["volumes"] if "emptyDir" in volume]
        for path in WRITABLE:
            if places.get(path) not in emptied:
                yield f"{component(pod)} cannot write into {path}"
        for variable, value in environment(pod).items():
            if value.startswith(("/weights", "/etc/unclip")) and not value.startswith(tuple(places)):
                yield f"{component(pod)}: {variable} is {value}, where nothing is mounted"


def names_are_unique_and_short(objects: Sequence[Object]) -> Iterator[str]:
    names = [(found["kind"], found["metadata"]["name"]) for found in objects]
    for kind, name in names:
        if names.count((kind, name)) > 1:
            yield f"{kind} {name} is there twice"
        if len(name) > LONGEST_NAME or not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name):
            yield f"{kind} {name} is no name of at most {LONGEST_NAME} characters"


def disruption_budgets_allow_one(objects: Sequence[Object]) -> Iterator[str]:
    for budget in of_kind(objects, "PodDisruptionBudget"):
        if budget["spec"].get("maxUnavailable") in (0, "0%", None):
            yield f"PodDisruptionBudget {budget['metadata']['name']} lets no node be drained"


def scalers_that_see_nothing_take_nothing_away(objects: Sequence[Object]) -> Iterator[str]:
    """Where Prometheus does not answer, KEDA may add replicas; it leaves those that run."""
    for scaler in of_kind(objects, "ScaledObject"):
        asks = any(trigger["type"] == "prometheus" for trigger in scaler["spec"]["triggers"])
        if asks and scaler["spec"].get("fallback", {}).get("behavior") != "currentReplicasIfHigher":
            yield f"ScaledObject {scaler['metadata']['name']} shrinks its pool when Prometheus is down"


RULES: Sequence[Rule] = (
    probes_ask_what_the_service_answers,
    resources_are_asked_for_and_bounded,
    selectors_find_pods,
    every_port_of_a_service_is_open,
    the_gateway_finds_every_stage,
    web_finds_the_gateway,
    settings_are_known_and_in_range,
    stopping_outlasts_every_call,
    new_pods_are_known_before_old_ones_go,
    callers_have_left_before_a_pod_says_that_it_does_not_serve,
    images_are_pinned,
    network_is_closed_but_for_what_is_needed,
    only_the_gateway_reaches_stages,
    what_lies_elsewhere_can_be_reached,
    scalers_have_their_target,
    monitors_find_metrics,
    pods_are_restricted,
    pods_have_no_token_and_no_service_links,
    mounts_have_volumes,
    names_are_unique_and_short,
    certificates_bear_the_names_that_are_called,
    disruption_budgets_allow_one,
    routes_speak_as_their_backends_do,
    scalers_that_see_nothing_take_nothing_away,
)

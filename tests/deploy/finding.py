"""What must hold of who calls whom, by which name and how secured; see `tests.deploy.rules`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gateway.app import WATCHED
from tests.deploy.chart import Object, component, dialled, environment, of_kind, ports_of, services_pods

# The Images API, and the studio: its page, and what that calls. Health stays inside.
LED_TO = {("/v1", "Prefix"), ("/", "Exact"), ("/studio", "Prefix")}


def the_gateway_finds_every_stage(objects: Sequence[Object]) -> Iterator[str]:
    """Each address is the whole name of a headless Service of the release, whose pods serve that stage at that port."""
    services = {name: found for found in of_kind(objects, "Service") for name in names_of(found, objects)[3:]}
    [gateway] = [pod for pod in services_pods(objects) if component(pod) == "gateway"]
    for stage in WATCHED:
        target = environment(gateway).get(f"UNCLIP_{stage.upper()}", "")
        found = dialled(target)
        if found is None or found[0] not in services:
            yield f"{stage}: {target!r} leads to no Service"
            continue
        service = services[found[0]]
        if service["spec"].get("clusterIP") != "None":
            yield f"{stage}: Service {service['metadata']['name']} is not headless, one replica would get every call"
        serving = [pod for pod in services_pods(objects) if component(pod) == component(service)]
        # DNS gives addresses of pods and knows no port of the Service: it must be the pods' own.
        if [ports_of(pod)["grpc"] for pod in serving] != [found[1]]:
            yield f"{stage}: no pod listens on {found[1]} behind {found[0]}"
        verb = {"decoder": "decode", "upsampler": "upsample"}.get(stage)
        if verb and not all(verb in environment(pod)["UNCLIP_STAGES"].split(",") for pod in serving):
            yield f"{stage}: the pods behind {found[0]} do not {verb}"


def web_finds_the_gateway(objects: Sequence[Object]) -> Iterator[str]:
    """By a headless Service, at the pods' own port, over TLS where that is on; its several replicas by a bucket."""
    services = {found["metadata"]["name"]: found for found in of_kind(objects, "Service")}
    whole = {name: found for found in services.values() for name in names_of(found, objects)[3:]}
    [gateway] = [pod for pod in services_pods(objects) if component(pod) == "gateway"]
    for pod in services_pods(objects):
        if component(pod) != "web":
            continue
        found = dialled(environment(pod).get("UNCLIP_GATEWAY", ""))
        service = whole.get(found[0]) if found else None
        if (
            found is None
            or service is None
            or component(service) != "gateway"
            or service["spec"].get("clusterIP") != "None"
        ):
            yield f"web: {environment(pod).get('UNCLIP_GATEWAY')} leads to no headless Service of the gateway"
        elif found[1] != ports_of(gateway)["grpc"]:
            yield f"web: the gateway does not listen on {found[1]}"
        secured, asked = ({*environment(each)} for each in (gateway, pod))
        if ("UNCLIP_TLS_CERT" in secured) != ("UNCLIP_GATEWAY_TLS_CA" in asked):
            yield "web and the gateway do not agree on TLS"
        if "UNCLIP_TLS_CA" in secured and "UNCLIP_GATEWAY_TLS_CERT" not in asked:
            yield "web has no certificate to show to the gateway"
    for ingress in of_kind(objects, "Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                backend = path["backend"]["service"]
                ports = [port["name"] for port in services[backend["name"]]["spec"]["ports"]]
                if (path["path"], path["pathType"]) not in LED_TO or backend["port"]["name"] not in ports:
                    yield f"Ingress {ingress['metadata']['name']} leads to {backend}"


def certificates_bear_the_names_that_are_called(objects: Sequence[Object]) -> Iterator[str]:
    """And the gateway's bears one that the stages let in; each is written where its service reads it."""
    issued = {component(found): found["spec"] for found in of_kind(objects, "Certificate")}
    for pod in services_pods(objects) if issued else []:
        name, secrets = (
            component(pod),
            [v["secret"]["secretName"] for v in pod["spec"]["volumes"] if v["name"] == "tls"],
        )
        spec = issued.get(name)
        if spec is None:
            continue
        if [spec["secretName"]] != secrets:
            yield f"{name}: the certificate goes to {spec['secretName']}, read is {secrets}"
        for service in of_kind(objects, "Service"):
            for host in names_of(service, objects) if component(service) == name else []:
                if host not in spec["dnsNames"]:
                    yield f"{name}: the certificate does not bear {host}"
        allowed = environment(pod).get("UNCLIP_ALLOWED_IDENTITIES", "")
        if name not in ("gateway", "web") and not set(allowed.split(",")) & set(issued["gateway"]["dnsNames"]):
            yield f"{name} lets in {allowed}, which the gateway's certificate does not bear"
        if name in ("gateway", "web") and "client auth" not in spec["usages"]:
            yield f"the certificate of {name} is none for a client"
        lets = environment_of(objects, "gateway").get("UNCLIP_ALLOWED_IDENTITIES", "")
        if name == "web" and lets and not set(lets.split(",")) & set(spec["dnsNames"]):
            yield f"the gateway lets in {lets}, which the certificate of web does not bear"


def names_of(service: Object, objects: Sequence[Object]) -> list[str]:
    """The names by which a Service may be called: short, with its namespace, with "svc", whole."""
    name, namespace = (service["metadata"][key] for key in ("name", "namespace"))
    domain = environment_of(objects, "gateway").get("UNCLIP_ENCODER", "").partition(".svc.")[2].rpartition(".:")[0]
    short = f"{name}.{namespace}"
    return [name, short, f"{short}.svc", f"{short}.svc.{domain or 'cluster.local'}"]


def environment_of(objects: Sequence[Object], name: str) -> dict[str, str]:
    """Variables of the service called ``name``."""
    [pod] = [pod for pod in services_pods(objects) if component(pod) == name]
    return environment(pod)


def routes_speak_as_their_backends_do(objects: Sequence[Object]) -> Iterator[str]:
    """What leads to pods that speak TLS does so over TLS, and by a name that their certificate bears."""
    policies = of_kind(objects, "BackendTLSPolicy")
    issued = {component(found): found["spec"]["dnsNames"] for found in of_kind(objects, "Certificate")}
    services = {found["metadata"]["name"]: found for found in of_kind(objects, "Service")}
    for route in of_kind(objects, "GRPCRoute"):
        for backend in [each for rule in route["spec"]["rules"] for each in rule["backendRefs"]]:
            name = component(services[backend["name"]])
            over = [
                p["spec"] for p in policies if backend["name"] in [each["name"] for each in p["spec"]["targetRefs"]]
            ]
            if bool(over) != ("UNCLIP_TLS_CERT" in environment_of(objects, name)):
                yield f"GRPCRoute {route['metadata']['name']} and the {name} do not agree on TLS"
            for spec in over:
                if spec["validation"]["hostname"] not in issued.get(name, names_of(services[backend["name"]], objects)):
                    yield f"the certificate of {name} does not bear {spec['validation']['hostname']}"

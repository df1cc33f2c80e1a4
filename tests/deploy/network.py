"""What must hold of a release's network policies; see `tests.deploy.rules`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from tests.deploy.chart import Object, component, labels_of, of_kind, pods, ports_of, selects, services_pods


def network_is_closed_but_for_what_is_needed(objects: Sequence[Object]) -> Iterator[str]:
    policies = of_kind(objects, "NetworkPolicy")
    if not policies:
        return
    for pod in pods(objects):
        closed = [
            policy
            for policy in policies
            if selects(policy["spec"]["podSelector"], labels_of(pod))
            and not policy["spec"].get("ingress")
            and not policy["spec"].get("egress")
        ]
        if not any({"Ingress", "Egress"} <= set(policy["spec"]["policyTypes"]) for policy in closed):
            yield f"{component(pod)} is open until a policy closes it"
    for policy in policies:
        if not any(selects(policy["spec"]["podSelector"], labels_of(pod)) for pod in pods(objects)):
            yield f"NetworkPolicy {policy['metadata']['name']} selects no pod"
        for rule in [*policy["spec"].get("ingress", []), *policy["spec"].get("egress", [])]:
            for peer in [*rule.get("from", []), *rule.get("to", [])]:
                ours = "podSelector" in peer and "namespaceSelector" not in peer
                if ours and not any(selects(peer["podSelector"], labels_of(pod)) for pod in pods(objects)):
                    yield f"NetworkPolicy {policy['metadata']['name']} names pods that are not there: {peer}"


def may_call(objects: Sequence[Object], source: Object, target: Object, port: int) -> bool:
    """Whether policies let pod ``source`` open a connection to pod ``target`` at ``port``, both of this release."""

    def allowed(of: Object, other: Object, way: str, peers: str) -> bool:
        mine = [p for p in of_kind(objects, "NetworkPolicy") if selects(p["spec"]["podSelector"], labels_of(of))]
        rules = [rule for policy in mine for rule in policy["spec"].get(way.lower(), [])]
        return not any(way in policy["spec"]["policyTypes"] for policy in mine) or any(
            ("ports" not in rule or port in [entry["port"] for entry in rule["ports"]])
            and (
                peers not in rule
                or any(
                    "namespaceSelector" not in peer and selects(peer["podSelector"], labels_of(other))
                    for peer in rule[peers]
                )
            )
            for rule in rules
        )

    return allowed(source, target, "Egress", "to") and allowed(target, source, "Ingress", "from")


def only_the_gateway_reaches_stages(objects: Sequence[Object]) -> Iterator[str]:
    """And it reaches all of them; nobody of the release reaches metrics, and `helm test` reaches the gateway."""
    closed = bool(of_kind(objects, "NetworkPolicy"))
    for source in pods(objects):
        for target in services_pods(objects):
            meant = (component(source), component(target))
            stages = meant[0] == "gateway" and meant[1] not in ("gateway", "web")
            needed = stages or meant in (("test", "gateway"), ("web", "gateway"))
            ports = ports_of(target)
            possible = may_call(objects, source, target, ports.get("grpc") or ports["http"])
            if needed and not possible:
                yield f"{meant[0]} cannot reach {meant[1]}"
            if closed and possible and meant[1] not in ("gateway", "web") and not needed:
                yield f"{meant[0]} reaches {meant[1]}"
            if closed and may_call(objects, source, target, ports_of(target)["metrics"]):
                yield f"{meant[0]} reads the metrics of {meant[1]}"


def what_lies_elsewhere_can_be_reached(objects: Sequence[Object]) -> Iterator[str]:
    """Of every pod: the places outside the release that its variables and arguments name, and DNS to find them by."""
    policies = of_kind(objects, "NetworkPolicy")
    for pod in services_pods(objects) if policies else []:
        rules = [
            rule
            for policy in policies
            if selects(policy["spec"]["podSelector"], labels_of(pod))
            for rule in policy["spec"].get("egress", [])
        ]
        for host, port in places(pod):
            if not any(
                port in [entry["port"] for entry in rule.get("ports", [])] and leads_to(rule, host) for rule in rules
            ):
                yield f"{component(pod)} may not reach {host}:{port}"
            udp = [entry["port"] for rule in rules for entry in rule.get("ports", []) if entry["protocol"] == "UDP"]
            if not udp:
                yield f"{component(pod)} may not ask DNS for {host}"


def places(pod: Object) -> Iterator[tuple[str, int]]:
    """Host and port of the addresses in a pod's variables and in its init containers' arguments."""
    spec = pod["spec"]
    texts = [entry.get("value", "") for entry in spec["containers"][0]["env"] if entry["name"] != "UNCLIP_PUBLIC_URL"]
    texts += [word for each in spec.get("initContainers", []) for word in each.get("command", [])]
    for text in texts:
        for scheme, host, port in re.findall(r"(https?|triton)://([^/:,]+)(?::(\d+))?", text):
            yield host, int(port or {"https": 443, "http": 80}[scheme])


def leads_to(rule: Object, host: str) -> bool:
    """Whether a rule's peers have room for a host: all hosts, or those of the namespace in its name."""
    spaces = [peer.get("namespaceSelector", {}).get("matchLabels", {}) for peer in rule.get("to", [])]
    return not spaces or f".{host}.".split(".")[2] in [labels.get("kubernetes.io/metadata.name") for labels in spaces]

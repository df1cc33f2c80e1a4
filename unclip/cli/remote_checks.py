"""What ``unclip doctor`` looks at over the network: the gateway, each stage through it, and stages by themselves."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import grpc

from unclip.api.decoder.v1 import decoder_pb2, decoder_pb2_grpc, upsampler_pb2, upsampler_pb2_grpc
from unclip.api.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from unclip.api.prior.v1 import prior_pb2, prior_pb2_grpc
from unclip.cli.certificate_checks import TIMEOUT_S, certificate, own_certificate, reason_of, speaks_tls
from unclip.cli.exits import one_line
from unclip.cli.findings import Finding
from unclip.client import Client, Generate, Progress, ReplicaCount, Sampling
from unclip.client.reaching import proxy_variable
from unclip.errors import Overloaded, PermissionDenied, Unauthenticated, UnclipError
from unclip.serving import probe
from unclip.serving.channels import is_loopback, open_sync_channel, resolved
from unclip.serving.error_table import from_rpc_error
from unclip.serving.tls import Tls

GATEWAY = "unclip.api.gateway.v1.GatewayService"
PICTURE_S = 120.0  # that a picture of one step a stage may take
SLOW_S = 1.0  # for an answer that needs no device
QUICK = Sampling(steps=1)
START = "start it, with unclip serve for one, and see its log"

Ask = Callable[[grpc.Channel], Any]
STAGES: dict[str, tuple[str, Ask]] = {
    "encoder": (
        "unclip.api.encoder.v1.EncoderService",
        lambda channel: encoder_pb2_grpc.EncoderServiceStub(channel).GetModelInfo(
            encoder_pb2.GetModelInfoRequest(), timeout=TIMEOUT_S
        ),
    ),
    "prior": (
        "unclip.api.prior.v1.PriorService",
        lambda channel: prior_pb2_grpc.PriorServiceStub(channel).GetModelInfo(
            prior_pb2.GetModelInfoRequest(), timeout=TIMEOUT_S
        ),
    ),
    "decoder": (
        "unclip.api.decoder.v1.DecoderService",
        lambda channel: decoder_pb2_grpc.DecoderServiceStub(channel).GetModelInfo(
            decoder_pb2.GetModelInfoRequest(), timeout=TIMEOUT_S
        ),
    ),
    "upsampler": (
        "unclip.api.decoder.v1.UpsamplerService",
        lambda channel: upsampler_pb2_grpc.UpsamplerServiceStub(channel).GetModelInfo(
            upsampler_pb2.UpsamplerServiceGetModelInfoRequest(), timeout=TIMEOUT_S
        ),
    ),
}


def gateway(address: str, tls: Tls | None, api_key: str, picture: bool) -> Iterator[Finding]:
    """The gateway at ``host:port`` and, through it, its stages. picture: whether to have one made."""
    resolved(address)
    address = address.removeprefix("dns:///")
    if tls is not None and tls.cert:
        yield own_certificate(tls)
    if api_key and tls is None and not is_loopback(address):
        advice = "use TLS, and make a new key: others may have read this one"
        yield Finding("API key", "warn", "it travels in plaintext, unless something on the way adds TLS", advice)
    yield from proxy(address)
    found = list(reachable("gateway", address, GATEWAY, tls))
    yield from found
    if found[-1].state == "fail":
        return
    with Client(address, timeout=TIMEOUT_S, tls=tls, api_key=api_key) as client:
        began = time.monotonic()
        try:
            model = client.model_info()
        except UnclipError as error:
            yield refused("model", error)
            return
        able = ", ".join(model.capabilities) or "nothing"
        yield answered("model", f"{model.name} on {model.device} can {able}", time.monotonic() - began)
        if model.replicas:
            yield replicas(model.replicas)
    if picture and "generate" in model.capabilities:
        with Client(address, timeout=PICTURE_S, tls=tls, api_key=api_key) as client:
            yield from stages_at_work(client)


def proxy(address: str) -> Iterator[Finding]:
    """The environment's proxy, where gRPC asks it for the way to ``host:port``. Its address may hold a password."""
    if variable := proxy_variable(address):
        advice = f"if the gateway is not behind it, unset {variable} or name the gateway's host in no_grpc_proxy"
        yield Finding(
            "proxy", "warn", f"{variable} is set: gRPC calls {address} through it, if no_proxy allows", advice
        )


def replicas(counts: Sequence[ReplicaCount]) -> Finding:
    """How many replicas of each stage the gateway calls, and which it leaves out for another version of their model."""
    found = ", ".join(f"{one.stage} {one.count} of {one.version[:12]}" for one in counts if one.served)
    left_out = ", ".join(f"{one.stage} {one.count} of {one.version[:12]}" for one in counts if not one.served)
    if left_out:
        advice = "while weights are replaced wait; else a replica has another checkpoint than the others: see its own"
        return Finding("versions", "warn", f"served: {found or 'nothing'}; left out: {left_out}", advice)
    return Finding("versions", "ok", f"{found}; none left out")


def stages_at_work(client: Client) -> Iterator[Finding]:
    """Each stage, by a picture of one step a stage; the time of each is what passed until it was done."""
    began, done = time.monotonic(), dict[str, float]()
    try:
        for event in client.stream(Generate("a circle", seed=0, prior=QUICK, decoder=QUICK, upsampler=QUICK)):
            if isinstance(event, Progress) and event.step == event.of:
                done[event.stage] = time.monotonic()
        seconds = time.monotonic() - began
    except UnclipError as error:
        for name, before, after in spans(began, done):
            yield Finding(f"{name} at work", "ok", f"one step in {after - before:.3f} s")
        yield refused("picture", error)
        return
    for name, before, after in spans(began, done):
        yield Finding(f"{name} at work", "ok", f"one step in {after - before:.3f} s")
    yield Finding("picture", "ok", f"made in {seconds:.3f} s")


def spans(began: float, done: dict[str, float]) -> Iterator[tuple[str, float, float]]:
    """(stage, when the one before was done, when it was done), in order."""
    for name, after in sorted(done.items(), key=lambda item: item[1]):
        yield name, began, after
        began = after


def stage(name: str, address: str, tls: Tls | None) -> Iterator[Finding]:
    """Each replica of a stage that ``host:port`` resolves to."""
    host, _, port = address.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        yield Finding(
            name, "fail", f"{address} does not resolve: {reason_of(error)}", "check the name, and the cluster's DNS"
        )
        return
    named = tls and replace(tls, server_name=tls.server_name or host)
    for replica in sorted({str(entry[4][0]) for entry in found}):
        place = f"[{replica}]:{port}" if ":" in replica else f"{replica}:{port}"
        label = name if replica == host else f"{name} {place}"
        service, ask = STAGES[name]
        seen = list(reachable(label, place, service, named))
        yield from seen
        if seen[-1].state != "fail":
            yield model_of(label, place, ask, named)


def model_of(label: str, place: str, ask: Ask, tls: Tls | None) -> Finding:
    """What a replica says of its model."""
    with open_sync_channel(place, tls=tls) as channel:
        began = time.monotonic()
        try:
            model = ask(channel).model
        except grpc.RpcError as error:
            return refused(f"{label} model", from_rpc_error(error, label))
        seconds = time.monotonic() - began
        return answered(f"{label} model", f"{model.name} {model.version[:12]} on {model.device}", seconds)


def reachable(name: str, address: str, service: str, tls: Tls | None) -> Iterator[Finding]:
    """Whether anything listens there, its certificate where it is to have one, and the health of its ``service``;
    nothing after the first of these that has failed."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        began = time.monotonic()
        socket.create_connection((host, int(port)), timeout=TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        yield Finding(name, "fail", f"nothing to be reached at {address}: {reason_of(error)}", START)
        return
    yield Finding(name, "ok", f"{address} in {(time.monotonic() - began) * 1000:.1f} ms")
    if tls is not None:
        shown = certificate(f"{name} certificate", host, int(port), tls)
        yield shown
        if shown.state == "fail":
            return
    yield health(f"{name} health", address, service, tls)


def health(name: str, address: str, service: str, tls: Tls | None) -> Finding:
    """What a server says of its health."""
    with open_sync_channel(address, tls=tls) as channel:
        try:
            state = probe.check(channel, service, TIMEOUT_S)
        except grpc.RpcError as error:
            return unhealthy(name, address, error, tls)
    if state == "SERVING":
        return Finding(name, "ok", "ready")
    return Finding(name, "fail", "not ready", "it loads, drains, or its device has failed: see its log")


def unhealthy(name: str, address: str, error: grpc.RpcError, tls: Tls | None) -> Finding:
    """Why a server does not say."""
    assert isinstance(error, grpc.Call)
    host, _, port = address.rpartition(":")
    match error.code():
        case grpc.StatusCode.NOT_FOUND:
            return Finding(name, "fail", "not ready", "it serves another stage: see its log")
        case grpc.StatusCode.UNAVAILABLE if tls is None and speaks_tls(host.strip("[]"), int(port)):
            return Finding(name, "fail", "it speaks TLS, and was spoken to without", "give --tls-ca, or --tls")
        case grpc.StatusCode.UNAVAILABLE if tls is not None and not tls.cert:
            advice = "if it demands a certificate of yours, give --tls-cert and --tls-key"
            return Finding(name, "fail", "it does not answer over TLS", advice)
    code = error.code()
    return Finding(name, "fail", f"it does not answer: {code.name if code else 'unknown'}", START)


def answered(name: str, found: str, seconds: float) -> Finding:
    """An answer, and whether it took long."""
    answer = f"{found}, answered in {seconds * 1000:.1f} ms"
    if seconds > SLOW_S:
        return Finding(name, "warn", answer, "the machine or the network is busy: see unclip_queue_depth of each stage")
    return Finding(name, "ok", answer)


def refused(name: str, error: UnclipError) -> Finding:
    """A refusal, and what to do about it."""
    match error:
        case Unauthenticated():
            advice = "give a key by UNCLIP_API_KEY, and see that the gateway's file has it"
        case PermissionDenied():
            advice = "add the name in your certificate to its list of identities"
        case Overloaded():
            return Finding(name, "warn", one_line(error), "add replicas, or wait")
        case _:
            advice = "see its log, by the request id where there is one"
    return Finding(name, "fail", one_line(error), advice)

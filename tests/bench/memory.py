"""memory: what each service needs at most, over the weights it runs, and how long it takes to be ready.

Each service is a process of its own, float32 on the CPU. ``peak`` is its VmHWM once it is ready: interpreter,
libraries, loading, the two steps in which it warms up, and one more request of a step through each of its networks.
``activations`` is what one forward takes beside the weights (``python -m tests.bench.activations``). The figure is
(peak - activations) / weights; interpreter and libraries, ``base``, are in it, so that it means something only for
checkpoints of some size; without them it is the second figure.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from PIL import Image

from decoder_svc.latents import HALVES
from tests.bench.activations import SIDE
from tests.bench.options import Options
from tests.bench.report import Report
from tests.processes import Process
from unclip.api.decoder.v1 import decoder_pb2, decoder_pb2_grpc, upsampler_pb2, upsampler_pb2_grpc
from unclip.api.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from unclip.api.prior.v1 import prior_pb2, prior_pb2_grpc
from unclip.api.type.v1 import embedding_pb2, image_pb2
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.checkpoints.components import AUTOENCODER
from unclip.checkpoints.sources import sources
from unclip.networks.interface import NetworkName
from unclip.networks.loading import count_parameters
from unclip.wire import tensors
from unclip.wire.embeddings import Embedding, TextEncoding
from unclip.wire.images import encode_image

MIB = 1024 * 1024
BAR = 1.15
PATIENCE_S = 3000.0
FLOAT32 = 4  # bytes


@dataclass(frozen=True)
class Service:
    """A service to measure. folders: the components whose weights it loads, or the half of one, by its network's name.
    networks: what runs them, and the rows that a request of ``ask``, of one step through each of them, has in a
    forward."""

    name: str
    module: str
    options: Sequence[str]
    folders: Sequence[str]
    networks: Mapping[NetworkName, int]
    ask: Callable[[grpc.Channel, Checkpoint], None]


def blank(checkpoint: Checkpoint) -> embedding_pb2.TextEncoding:
    """Some caption's encoding."""
    config = checkpoint.config("prior" if checkpoint.has("prior") else "text_proj", "config.json")
    dim = config.get("embedding_dim", config.get("clip_embeddings_dim", 768))
    zeros = TextEncoding.blank(dim, config.get("num_embeddings", 77), dim)
    named = Embedding(zeros.embedding.values, checkpoint.clip_space)
    return TextEncoding(named, zeros.token_states, zeros.token_mask).to_proto()


def ask_encoder(channel: grpc.Channel, checkpoint: Checkpoint) -> None:
    """A caption and a picture."""
    stub = encoder_pb2_grpc.EncoderServiceStub(channel)
    stub.EncodeText(encoder_pb2.EncodeTextRequest(captions=["a red apple"]), timeout=PATIENCE_S)
    data = encode_image(Image.new("RGB", (64, 64)), "image/png").data
    stub.EncodeImage(encoder_pb2.EncodeImageRequest(images=[image_pb2.Image(data=data)]), timeout=PATIENCE_S)


def ask_prior(channel: grpc.Channel, checkpoint: Checkpoint) -> None:
    """One guided step: two rows."""
    text = blank(checkpoint)
    request = prior_pb2.SampleRequest(text=text, unconditional_text=text, candidates=1)
    request.sampling.steps, request.sampling.guidance_scale = 1, 2.0
    drain(prior_pb2_grpc.PriorServiceStub(channel).Sample(request, timeout=PATIENCE_S))


def ask_decoder(channel: grpc.Channel, checkpoint: Checkpoint) -> None:
    """One guided step: two rows."""
    text = blank(checkpoint)
    request = decoder_pb2.DecodeRequest(embedding=text.embedding, text=text, unconditional_text=text)
    request.sampling.steps, request.sampling.guidance_scale = 1, 2.0
    drain(decoder_pb2_grpc.DecoderServiceStub(channel).Decode(request, timeout=PATIENCE_S))


def ask_upsampler(channel: grpc.Channel, checkpoint: Checkpoint) -> None:
    """Two steps: one for each network where the last has its own."""
    base = np.zeros((3, 16, 16), np.float32)
    request = upsampler_pb2.UpsampleRequest(sample=tensors.to_proto(base))
    request.sampling.steps = 2
    drain(upsampler_pb2_grpc.UpsamplerServiceStub(channel).Upsample(request, timeout=PATIENCE_S))


def ask_latent_decoder(channel: grpc.Channel, checkpoint: Checkpoint) -> None:
    """One guided step at 512 px, two rows; and one of an inversion, for which a picture is read."""
    stub, config = decoder_pb2_grpc.DecoderServiceStub(channel), checkpoint.config("decoder", "config.json")
    dim = config.get("encoder_hid_dim") or config["projection_class_embeddings_input_dim"] // 2
    zeros = TextEncoding.blank(dim, 77, dim, config["cross_attention_dim"])
    gist = Embedding(zeros.embedding.values, checkpoint.clip_space)
    text = replace(zeros, embedding=gist).to_proto()
    common: dict[str, Any] = {"embedding": gist.to_proto(), "unconditional_text": text, "width": SIDE, "height": SIDE}
    request = decoder_pb2.DecodeRequest(**common, unconditional_embedding=gist.to_proto())
    request.sampling.steps, request.sampling.guidance_scale = 1, 2.0
    drain(stub.Decode(request, timeout=PATIENCE_S))
    data = encode_image(Image.new("RGB", (SIDE, SIDE)), "image/png").data
    drain(
        stub.Invert(decoder_pb2.InvertRequest(**common, image=image_pb2.Image(data=data), steps=1), timeout=PATIENCE_S)
    )


def ask_latent_upsampler(channel: grpc.Channel, checkpoint: Checkpoint) -> None:
    """A picture of 512 px."""
    latents = np.zeros((4, SIDE // 8, SIDE // 8), np.float32)
    request = upsampler_pb2.UpsampleRequest(sample=tensors.to_proto(latents))
    drain(upsampler_pb2_grpc.UpsamplerServiceStub(channel).Upsample(request, timeout=PATIENCE_S))


def count(found: Mapping[str, Checkpoint], name: str) -> int:
    """How many numbers a component has, or the half that a network is of; 0 where there is none."""
    halves = {str(half): parts for half, parts in HALVES.items()}
    component = AUTOENCODER if name in halves else name
    if component not in found or not found[component].has(component):
        return 0
    return count_parameters(found[component], component, halves.get(name, ()))


def drain(stream: object) -> None:
    """Reads a stream to its end."""
    for _ in stream:  # type: ignore[attr-defined]
        pass


CLIP: tuple[NetworkName, ...] = ("text_encoder", "image_encoder")
DECODE, UPSAMPLE = ("--stages", "decode"), ("--stages", "upsample")
SERVICES = (
    Service("encoder", "encoder_svc", (), CLIP, dict.fromkeys(CLIP, 1), ask_encoder),
    Service("prior", "prior_svc", (), ("prior",), {"prior": 2}, ask_prior),
    Service("decoder", "decoder_svc", DECODE, ("text_proj", "decoder"), {"decoder": 2}, ask_decoder),
    Service(
        "upsampler",
        "decoder_svc",
        UPSAMPLE,
        ("super_res_first", "super_res_last"),
        {"upsampler": 1},  # the last step's network is of the same size
        ask_upsampler,
    ),
)
OF_LATENTS = (  # of families whose decoders walk them
    Service("encoder", "encoder_svc", (), (*CLIP, "decoder_text_encoder"), dict.fromkeys(CLIP, 1), ask_encoder),
    SERVICES[1],
    Service(
        "decoder",
        "decoder_svc",
        DECODE,
        ("image_normalizer", "decoder", "latent_encoder"),
        {"decoder": 2, "latent_encoder": 1},
        ask_latent_decoder,
    ),
    Service("upsampler", "decoder_svc", UPSAMPLE, ("latent_decoder",), {"latent_decoder": 1}, ask_latent_upsampler),
)


def run(options: Options) -> Report:
    """Measures every service on the chosen checkpoint."""
    report, base = Report("memory"), idle(options)
    for service in SERVICES:
        row = measure(service, options.checkpoint, options.threads, options.scratch, base)
        report.rows.append(row)
        report.figure(f"{service.name}_peak_mib", float(str(row["peak_mib"])))
    return report


def idle(options: Options) -> int:
    """MiB of a service whose networks are next to nothing."""
    from tests.tiny import make_tiny_checkpoint

    tiny = make_tiny_checkpoint(options.scratch / "next-to-nothing")
    return int(str(measure(SERVICES[-1], tiny, options.threads, options.scratch)["peak_mib"]))


def measure(service: Service, folder: Path, threads: int, scratch: Path, base: int = 0) -> Mapping[str, object]:
    """One service's row: MiB, seconds, and (peak - activations) / weights, with and without the ``base``, in MiB."""
    checkpoint = Checkpoint.open(folder)
    found = sources(checkpoint)
    weights = FLOAT32 * sum(count(found, name) for name in service.folders)
    words = ("--checkpoint", str(folder), "--device", "cpu", "--precision", "float32", "--threads", str(threads))
    more = (*service.options, "--max-deadline", str(PATIENCE_S))
    began = time.monotonic()
    with Process(service.module, [*words, *more], scratch, service.name) as process:
        address = process.address(PATIENCE_S)
        ready = time.monotonic() - began
        with grpc.insecure_channel(address) as channel:
            began = time.monotonic()
            service.ask(channel, checkpoint.for_stage(service.name))
            answered = time.monotonic() - began
        peak = process.memory("VmHWM")
    asked = [f"{name}={rows}" for name, rows in service.networks.items()]
    command = [sys.executable, "-m", "tests.bench.activations", str(folder), str(threads), *asked]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    activations = int(told.split()[-1])
    return {
        "service": service.name,
        "weights_mib": weights // MIB,
        "peak_mib": peak // MIB,
        "activations_mib": activations // MIB,
        "base_mib": base,
        "over_weights": round((peak - activations) / weights, 3),
        "without_base": round((peak - activations - base * MIB) / weights, 3),
        "ready_s": round(ready, 1),
        "one_step_each_s": round(answered, 2),
    }

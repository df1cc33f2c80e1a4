"""memory: what each service needs at most, over the weights it runs, and how long it takes to be ready.

Each service is a process of its own, float32 on the CPU. ``peak`` is its VmHWM once it is ready: interpreter,
libraries, loading, and the two steps in which it warms up. ``activations`` is what one more request, of one step
through each of its networks, adds to what is in memory before it. The figure is (peak - activations) / weights; the
interpreter and its libraries, ``base``, are in it, so that it means something only for checkpoints of some size.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
from PIL import Image

from tests.bench.options import Options
from tests.bench.processes import Process
from tests.bench.report import Report
from unclip.api.decoder.v1 import decoder_pb2, decoder_pb2_grpc, upsampler_pb2, upsampler_pb2_grpc
from unclip.api.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from unclip.api.prior.v1 import prior_pb2, prior_pb2_grpc
from unclip.api.type.v1 import embedding_pb2, image_pb2
from unclip.checkpoint import Checkpoint
from unclip.weights import count_parameters
from unclip.wire import tensors
from unclip.wire.embeddings import Embedding, TextEncoding
from unclip.wire.images import encode_image

MIB = 1024 * 1024
BAR = 1.15
PATIENCE_S = 3000.0
FLOAT32 = 4  # bytes


@dataclass(frozen=True)
class Service:
    """A service to measure. networks: the components whose weights it loads. ask: one request of a step each."""

    name: str
    module: str
    options: Sequence[str]
    networks: Sequence[str]
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


def drain(stream: object) -> None:
    """Reads a stream to its end."""
    for _ in stream:  # type: ignore[attr-defined]
        pass


SERVICES = (
    Service("encoder", "encoder_svc", (), ("text_encoder", "image_encoder"), ask_encoder),
    Service("prior", "prior_svc", (), ("prior",), ask_prior),
    Service("decoder", "decoder_svc", ("--stages", "decode"), ("text_proj", "decoder"), ask_decoder),
    Service(
        "upsampler",
        "decoder_svc",
        ("--stages", "upsample"),
        ("super_res_first", "super_res_last"),
        ask_upsampler,
    ),
)


def run(options: Options) -> Report:
    """Measures every service on the chosen checkpoint."""
    report = Report("memory")
    base = idle(options)
    for service in SERVICES:
        row = measure(service, options.checkpoint, options.threads, options.scratch)
        report.rows.append({**row, "base_mib": base})
        report.figure(f"{service.name}_peak_mib", float(str(row["peak_mib"])))
    report.notes.append("base_mib: an upsampler service of no size, with all libraries")
    return report


def idle(options: Options) -> int:
    """MiB of a service whose networks are next to nothing."""
    from tests.tiny import make_tiny_checkpoint

    tiny = make_tiny_checkpoint(options.scratch / "next-to-nothing")
    return int(str(measure(SERVICES[-1], tiny, options.threads, options.scratch)["peak_mib"]))


def measure(service: Service, folder: Path, threads: int, scratch: Path) -> Mapping[str, object]:
    """One service's row: MiB, seconds, and (peak - activations) / weights."""
    checkpoint = Checkpoint.open(folder)
    weights = FLOAT32 * sum(count_parameters(checkpoint, name) for name in service.networks if checkpoint.has(name))
    words = ("--checkpoint", str(folder), "--device", "cpu", "--precision", "float32", "--threads", str(threads))
    began = time.monotonic()
    more = (*service.options, "--max-deadline", str(PATIENCE_S))
    with Process(service.module, [*words, *more], scratch, service.name) as process:
        address = process.address(PATIENCE_S)
        ready = time.monotonic() - began
        peak = process.memory()
        before = process.memory("VmRSS")
        process.forget_peak()
        with grpc.insecure_channel(address, [("grpc.max_receive_message_length", -1)]) as channel:
            began = time.monotonic()
            service.ask(channel, checkpoint)
            asked = time.monotonic() - began
        after = process.memory()
    activations = after - before
    return {
        "service": service.name,
        "weights_mib": weights // MIB,
        "peak_mib": max(peak, after) // MIB,
        "activations_mib": activations // MIB,
        "over_weights": round((max(peak, after) - activations) / weights, 3),
        "ready_s": round(ready, 1),
        "one_step_each_s": round(asked, 2),
    }

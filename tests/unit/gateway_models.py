"""What stages say of their models, for tests of what the gateway makes of it."""

from __future__ import annotations

from google.protobuf import timestamp_pb2

from unclip.api.type.v1 import model_info_pb2, sampling_pb2
from unclip.options import SERVICES, ServiceName

ABILITIES: dict[ServiceName, list[str]] = {
    "encoder": ["encode_text", "encode_image"],
    "prior": ["sample"],
    "decoder": ["decode", "invert", "edit"],
    "upsampler": ["upsample", "edit"],
}
STAGES: dict[ServiceName, sampling_pb2.Stage.ValueType] = {
    "encoder": sampling_pb2.STAGE_ENCODER,
    "prior": sampling_pb2.STAGE_PRIOR,
    "decoder": sampling_pb2.STAGE_DECODER,
    "upsampler": sampling_pb2.STAGE_UPSAMPLER,
}


def reported_by(
    service: ServiceName,
    version: str = "v1",
    clip_space: str = "clip",
    replica: str = "",
    started: int = 0,
    checkpoint: str = "",
) -> model_info_pb2.ModelInfo:
    defaults = sampling_pb2.SamplingOptions(
        sampler=sampling_pb2.SAMPLER_DDIM, steps=10 + STAGES[service], guidance_scale=2, eta=0
    )
    return model_info_pb2.ModelInfo(
        name="emoji",
        version=version,
        license="MIT",
        clip_space="" if service == "upsampler" else clip_space,
        device="cpu",
        capabilities=ABILITIES[service],
        stages=[model_info_pb2.StageInfo(stage=STAGES[service], defaults=defaults)],
        caption_template="an emoji of {}" if service == "encoder" else "",
        embedding_dim=0 if service == "upsampler" else 64,
        replica=replica or f"{service}-{version}",
        checkpoint=checkpoint or version,
        started=timestamp_pb2.Timestamp(seconds=started),
    )


def everyone() -> dict[ServiceName, model_info_pb2.ModelInfo]:
    return {service: reported_by(service) for service in SERVICES}

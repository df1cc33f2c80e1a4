"""What tests ask of a model's ``config.pbtxt``, whatever its backend."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2

from unclip.networks.interface import NetworkName, Signature
from unclip.triton.export import BackendName, Options
from unclip.triton.remote import check

KARLOS: tuple[NetworkName, ...] = ("text_encoder", "image_encoder", "prior", "decoder", "upsampler", "upsampler_last")
BOUNDED: Mapping[str, Any] = {"max_batch": 4, "queue": 7, "delay_us": 50, "threads": 3}  # options of what is exported


def config_of(folder: Path) -> model_config_pb2.ModelConfig:
    """The config in a model's folder."""
    return text_format.Parse((folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def assert_serves(
    config: model_config_pb2.ModelConfig, name: NetworkName, backend: BackendName, signature: Signature, weights: str
) -> dict[str, str]:
    """A config of a network exported with `BOUNDED`, and its parameters but for the weights."""
    assert (config.name, config.backend, config.max_batch_size) == (name, backend, BOUNDED["max_batch"])
    assert config.dynamic_batching.max_queue_delay_microseconds == BOUNDED["delay_us"]
    assert config.dynamic_batching.default_queue_policy.max_queue_size == BOUNDED["queue"]
    assert [dict(warm.inputs).keys() for warm in config.model_warmup] == [{part.name for part in config.input}]
    check(json_format.MessageToDict(config, preserving_proto_field_name=True), signature, name, weights)
    told = {key: value.string_value for key, value in config.parameters.items()}
    assert told.pop("weights") == weights
    return told


def options(backend: BackendName = "python", **others: Any) -> Options:
    """`BOUNDED` and others."""
    return Options(backend, **BOUNDED, **others)

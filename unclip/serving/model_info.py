"""What a service says of its model."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from itertools import count

from google.protobuf import timestamp_pb2

from unclip.api.type.v1 import model_info_pb2, sampling_pb2
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.checkpoints.vocabulary import Vocabulary
from unclip.options import Room, SamplingSettings, Sizes
from unclip.serving.acceptance import REPLICA
from unclip.wire.by_name import PLAIN
from unclip.wire.enums import QUALITIES
from unclip.wire.limits import MAX_STEPS
from unclip.wire.sampling import sampling_to_proto
from unclip.wire.sizes import sizes_to_proto

_NUMBERS = count(1)


def stage_info(
    stage: sampling_pb2.Stage.ValueType,
    parameters: int,
    image_size: int = 0,
    defaults: SamplingSettings | None = None,
    room: Room | None = None,
    sizes: Sizes | None = None,
    ignores_text: bool = False,
    fast: SamplingSettings | None = None,
    max_steps: int = 0,
) -> model_info_pb2.StageInfo:
    """One stage; defaults is None for a stage that does not sample, room where it does not report it. sizes: what else
    than squares of image_size it makes, None for nothing. ignores_text: it is a decoder that reads none. fast: defaults
    where the quality is fast, None where that is no other. max_steps: that may be asked for, 0 where it takes none."""
    return model_info_pb2.StageInfo(
        stage=stage,
        defaults=None if defaults is None else sampling_to_proto(defaults),
        image_size=image_size,
        parameters=parameters,
        places=room.places if room else 0,
        max_batch=room.max_batch if room else 0,
        sizes=sizes_to_proto(sizes),
        ignores_text=ignores_text,
        fast=None if fast is None else sampling_to_proto(fast),
        max_steps=min(max_steps, MAX_STEPS),
    )


def model_info(
    checkpoint: Checkpoint,
    folders: Iterable[str],
    device: str,
    capabilities: Sequence[str],
    stages: Sequence[model_info_pb2.StageInfo],
    embedding_dim: int = 0,
) -> model_info_pb2.ModelInfo:
    """What a service has loaded from ``folders`` of a checkpoint; embedding_dim is 0 where it takes no embeddings."""
    replica, started = identity()
    usual = QUALITIES.numbers[checkpoint.quality]
    return model_info_pb2.ModelInfo(
        name=checkpoint.name,
        version=checkpoint.version(folders),
        license=checkpoint.license,
        clip_space=checkpoint.clip_space if embedding_dim else "",
        device=device,
        capabilities=capabilities,
        stages=stages,
        caption_template=checkpoint.caption_template,
        embedding_dim=embedding_dim,
        replica=replica,
        started=started,
        checkpoint=checkpoint.digest,
        quality=usual if checkpoint.fast("decoder") else sampling_pb2.QUALITY_UNSPECIFIED,
    )


def with_vocabulary(
    info: model_info_pb2.ModelInfo, vocabulary: Vocabulary | None, whole: bool = False
) -> model_info_pb2.ModelInfo:
    """``info`` with the examples of a ``vocabulary``, and with the ``whole`` of it. The encoder tells it: it is what
    reads captions."""
    told = model_info_pb2.ModelInfo()
    told.CopyFrom(info)
    if vocabulary is not None:
        told.captions[:] = vocabulary.captions
        if whole:
            PLAIN.write(vocabulary, told.vocabulary)
    return told


def identity() -> tuple[str, timestamp_pb2.Timestamp]:
    """What sets a replica that starts now apart from others: a name, the process's with a number, and the time."""
    return f"{REPLICA}-{next(_NUMBERS)}", timestamp_pb2.Timestamp(seconds=int(time.time()))

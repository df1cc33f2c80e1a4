"""What a stage takes, and how the fields of a request to it are read.

What is broken is noted, every rule at once, until the violations are raised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.message import Message

from unclip.api.decoder.v1 import decoder_pb2, known_pixels_pb2
from unclip.api.type.v1 import embedding_pb2, image_pb2, sampling_pb2, tensor_pb2
from unclip.errors import PreconditionFailed
from unclip.options import FAST_GUIDANCE, SamplingSettings, Sizes
from unclip.wire import tensors
from unclip.wire.by_name import Converter, Value
from unclip.wire.embeddings import Embedding, TextEncoding
from unclip.wire.known import KnownPixels
from unclip.wire.limits import MAX_STEPS, steps_within
from unclip.wire.sampling import sampling_from_proto, sampling_to_proto
from unclip.wire.sizes import size_of
from unclip.wire.violations import Violations

MAX_CONTEXT = 512  # tokens of a caption; CLIP has 77
MAX_SIZE = 1e4  # of an embedding's, state's or noise's values; networks make NaN of far larger ones

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class StageSpec:
    """What a stage's model takes.

    clip_space: digest of its CLIP. dim: D of embeddings and of token states. context: L, tokens of a caption, None
    takes any up to 512. size: side of the pictures it makes, 0 where it makes none. defaults: of its sampling. sizes:
    what else may be asked for. fast: defaults of a decoder's student, None where there is none. channels, scale: of
    what it samples, and pixels to a side of each element of it; 3 and 1 are pixels themselves. ignores_text: it is
    guided by embeddings alone. states_width: H of the token states that it reads where these are
    `TextEncoding.decoder_states`, None where they are the CLIP's own. max_steps, max_fast_steps: timesteps of its
    scheduler and of its student's; no request takes more.
    """

    clip_space: str
    dim: int
    context: int | None = None
    size: int = 0
    defaults: SamplingSettings = field(default_factory=SamplingSettings)
    sizes: Sizes | None = None
    fast: SamplingSettings | None = None
    channels: int = 3
    scale: int = 1
    ignores_text: bool = False
    states_width: int | None = None
    max_steps: int = MAX_STEPS
    max_fast_steps: int = MAX_STEPS

    def relative_size(self, pixels: int) -> float:
        """So many pixels, those of a picture of ``size`` counted as 1 (which 0 stands for), of a picture that was not
        checked yet: no more than one may have that is allowed."""
        usual = self.size**2
        return min(max(pixels or usual, 1), max(usual, self.sizes.max_pixels if self.sizes else 0)) / usual


def message_of(value: Any, path: str) -> Any:
    """A value that has a message of its own."""
    return None if value is None else value.to_proto()


TASKS = Converter(
    writers={
        embedding_pb2.Embedding.DESCRIPTOR.full_name: message_of,
        embedding_pb2.TextEncoding.DESCRIPTOR.full_name: message_of,
        known_pixels_pb2.KnownPixels.DESCRIPTOR.full_name: message_of,
        sampling_pb2.SamplingOptions.DESCRIPTOR.full_name: lambda sampling, path: sampling_to_proto(sampling),
        tensor_pb2.Tensor.DESCRIPTOR.full_name: lambda values, path: tensors.to_proto(values),
        image_pb2.Image.DESCRIPTOR.full_name: lambda file, path: image_pb2.Image(data=file),
    },
    readers={},
)


class StageReader:
    """Reads fields one by one; what is broken is noted and None returned, until the violations are raised."""

    def __init__(self, spec: StageSpec) -> None:
        self.violations = Violations()
        self._spec = spec

    def task(self, kind: type[Value], request: Message, **given: Any) -> Value:
        """The ``kind`` of what was read, and of the rest of ``request`` by its names. Raises InvalidRequest."""
        task = TASKS.read(kind, request, **given)
        for each in fields(kind):
            if "limits" in each.metadata:
                self.violations.number(each.name, getattr(task, each.name), *each.metadata["limits"])
        self.violations.raise_if_any()
        return task

    def embedding(self, message: embedding_pb2.Embedding, field: str) -> Embedding | None:
        spec = self._spec
        found = self.violations.take(
            lambda: Embedding.from_proto(message, field, clip_space=spec.clip_space, dim=spec.dim)
        )
        if found is not None:
            self.size(f"{field}.values", found.values)
        return found

    def text(self, message: embedding_pb2.TextEncoding, field: str) -> TextEncoding | None:
        spec = self._spec
        expected: dict[str, Any] = {"states_width": spec.states_width}
        if spec.states_width is None:  # else the decoder looks at its own states alone
            expected = {"clip_space": spec.clip_space, "dim": spec.dim, "context": spec.context, "width": spec.dim}
        encoding = self.violations.take(lambda: TextEncoding.from_proto(message, field, **expected))
        if encoding is not None:
            self.violations.count(f"{field}.token_mask", len(encoding.token_mask), 1, MAX_CONTEXT)
            self.size(f"{field}.embedding.values", encoding.embedding.values)
            self.size(f"{field}.token_states", encoding.token_states)
            if encoding.decoder_states is not None:
                self.size(f"{field}.decoder_states", encoding.decoder_states)
        return encoding

    def unconditional(self, request: decoder_pb2.DecodeRequest | decoder_pb2.InvertRequest) -> TextEncoding | None:
        """What every decoder that reads text has to be given."""
        if self._spec.ignores_text and not request.HasField("unconditional_text"):
            return None
        return self.text(request.unconditional_text, "unconditional_text")

    def size(self, field: str, values: Float32Array, most: float = MAX_SIZE) -> None:
        if (largest := float(np.abs(values).max())) > most:
            self.violations.add(f"{field}.data", f"must be -{most:g} to {most:g}; got a value of size {largest:g}")

    def picture_size(self, request: decoder_pb2.DecodeRequest | decoder_pb2.InvertRequest) -> tuple[int, int]:
        width = request.width if request.HasField("width") else None
        height = request.height if request.HasField("height") else None
        return size_of(width, height, self._spec.size, self._spec.sizes, self.violations)

    def tensor(
        self, message: tensor_pb2.Tensor, field: str, shape: Sequence[int | None], most: float = MAX_SIZE
    ) -> Float32Array | None:
        found = self.violations.take(lambda: tensors.from_proto(message, field, dtype=np.float32, shape=shape))
        if found is not None:
            self.size(field, found, most)
        return found

    def known(self, message: known_pixels_pb2.KnownPixels, width: int, height: int) -> KnownPixels | None:
        return KnownPixels.from_proto(message, "known", width, height, self.violations)

    def sampling(self, message: sampling_pb2.SamplingOptions) -> SamplingSettings:
        spec = self._spec
        return sampling_from_proto(message, spec.defaults, "sampling", self.violations, spec.max_steps)

    def steps(self, request: decoder_pb2.InvertRequest) -> int:
        """Those of an inversion."""
        steps = request.steps if request.HasField("steps") else self._spec.defaults.steps
        self.violations.number("steps", steps, *steps_within(self._spec.max_steps))
        return steps

    def fast(self, request: decoder_pb2.DecodeRequest) -> SamplingSettings:
        """How the decoder's student samples, which does that alone."""
        spec = self._spec
        if spec.fast is None:
            raise PreconditionFailed("fast", "this decoder has no student: it samples by itself alone")
        sampling = sampling_from_proto(
            request.sampling, spec.fast, "sampling", self.violations, spec.max_fast_steps, FAST_GUIDANCE
        )
        if 0 < sampling.eta <= 1:
            self.violations.add("sampling.eta", f"must be 0 of a student; got {sampling.eta:g}")
        for name in ("start_noise", "known"):
            if request.HasField(name):
                self.violations.add(name, "must be unset where fast is set: only the decoder itself begins with it")
        return sampling

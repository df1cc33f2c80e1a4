"""CLIP embeddings and text encodings, with the space they belong to."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from unclip.api.encoder.v1 import encoder_pb2
from unclip.api.type.v1 import embedding_pb2
from unclip.errors import PreconditionFailed
from unclip.wire import tensors
from unclip.wire.notices import Notice


@dataclass(frozen=True, eq=False, repr=False)
class Embedding:
    """A point of CLIP's joint space, unnormalised. values: float32 ``[D]``; clip_space: digest that names the CLIP.

    Points of one CLIP can be added, subtracted and multiplied by numbers: ``(a + b - c).with_length(a.length)``. A
    decoder knows points as far from the origin as pictures' are: give a sum the length of one of those.
    """

    values: npt.NDArray[np.float32]
    clip_space: str

    def __repr__(self) -> str:
        """One line, without the values."""
        return f"<Embedding {len(self.values)} dimensions, length {self.length:.4g}, CLIP {self.clip_space[:12]!r}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Embedding) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[str, bytes]:
        return self.clip_space, self.values.tobytes()

    @property
    def length(self) -> float:
        """The distance from the origin."""
        return float(np.linalg.norm(self.values.astype(np.float64)))

    def with_length(self, length: float) -> Embedding:
        """The point in the same direction at this distance from the origin; the origin itself stays where it is."""
        return self * (length / self.length) if self.length else self

    def __add__(self, other: Embedding) -> Embedding:
        self._require_same_space(other)
        return replace(self, values=self.values + other.values)

    def __sub__(self, other: Embedding) -> Embedding:
        self._require_same_space(other)
        return replace(self, values=self.values - other.values)

    def __mul__(self, factor: float) -> Embedding:
        return replace(self, values=(self.values * np.float64(factor)).astype(np.float32))

    __rmul__ = __mul__

    def _require_same_space(self, other: Embedding) -> None:
        """Raises PreconditionFailed when ``other`` is of another CLIP: their axes mean other things."""
        if other.clip_space != self.clip_space:
            raise PreconditionFailed(
                "clip_space", f"embeddings of CLIP {self.clip_space[:12]} and {other.clip_space[:12]} do not add up"
            )

    @classmethod
    def from_proto(
        cls,
        message: embedding_pb2.Embedding,
        field: str,
        *,
        clip_space: str | None = None,
        dim: int | None = None,
    ) -> Embedding:
        """The embedding in a message; clip_space and dim say what is expected, None takes any.

        Raises:
            InvalidRequest: no float32 ``[dim]`` of finite values.
            PreconditionFailed: it belongs to another CLIP.
        """
        if clip_space is not None and message.HasField("values") and message.clip_space != clip_space:
            raise PreconditionFailed(
                f"{field}.clip_space",
                f"the embedding is of CLIP {message.clip_space[:12] or 'unnamed'}, this model speaks {clip_space[:12]}",
            )
        values = tensors.from_proto(message.values, f"{field}.values", dtype=np.float32, shape=[dim])
        return cls(values.copy(), message.clip_space)

    def to_proto(self) -> embedding_pb2.Embedding:
        """The message."""
        return embedding_pb2.Embedding(values=tensors.to_proto(self.values), clip_space=self.clip_space)


@dataclass(frozen=True, eq=False)
class TextEncoding:
    """All a text encoder says of a caption. token_states: float32 ``[L, H]``; token_mask: bool ``[L]``.

    notices: of the caption, for whoever gave it; they travel beside the message, not in it. decoder_states: float32
    ``[L, H2]``, of the decoder's own text encoder, None where it has none.
    """

    embedding: Embedding
    token_states: npt.NDArray[np.float32]
    token_mask: npt.NDArray[np.bool_]
    notices: tuple[Notice, ...] = ()
    decoder_states: npt.NDArray[np.float32] | None = None

    @classmethod
    def blank(cls, dim: int, context: int, width: int, states_width: int | None = None) -> TextEncoding:
        """Zeros of the given sizes, every position a token: for trial runs."""
        zeros = np.zeros((context, width), np.float32)
        own = None if states_width is None else np.zeros((context, states_width), np.float32)
        return cls(Embedding(np.zeros(dim, np.float32), ""), zeros, np.ones(context, np.bool_), decoder_states=own)

    @classmethod
    def from_proto(
        cls,
        message: embedding_pb2.TextEncoding,
        field: str,
        *,
        clip_space: str | None = None,
        dim: int | None = None,
        context: int | None = None,
        width: int | None = None,
        states_width: int | None = None,
    ) -> TextEncoding:
        """The encoding in a message; context L, width H and states_width H2 say what is expected, None takes any, of
        the last none too.

        Raises:
            InvalidRequest: a tensor has another type or shape, or L differs between them.
            PreconditionFailed: it belongs to another CLIP.
        """
        embedding = Embedding.from_proto(message.embedding, f"{field}.embedding", clip_space=clip_space, dim=dim)
        states = tensors.from_proto(
            message.token_states, f"{field}.token_states", dtype=np.float32, shape=[context, width]
        )
        mask = tensors.from_proto(message.token_mask, f"{field}.token_mask", dtype=np.bool_, shape=[len(states)])
        own = None
        if states_width is not None or message.HasField("decoder_states"):
            at, shape = f"{field}.decoder_states", [len(states), states_width]
            own = tensors.from_proto(message.decoder_states, at, dtype=np.float32, shape=shape).copy()
        return cls(embedding, states.copy(), mask.copy(), decoder_states=own)

    def of_clip(self) -> TextEncoding:
        """The same without what only a decoder reads, which for Stable unCLIP is more than all else."""
        return replace(self, decoder_states=None)

    def to_proto(self) -> embedding_pb2.TextEncoding:
        """The message."""
        return embedding_pb2.TextEncoding(
            embedding=self.embedding.to_proto(),
            token_states=tensors.to_proto(self.token_states),
            token_mask=tensors.to_proto(self.token_mask),
            decoder_states=None if self.decoder_states is None else tensors.to_proto(self.decoder_states),
        )


def text_encodings(answer: encoder_pb2.EncodeTextResponse) -> list[TextEncoding]:
    """What an encoder answers of captions, each with the notices of its own. Raises as `TextEncoding.from_proto`."""
    notices = [Notice.from_proto(notice) for notice in answer.notices]
    return [
        replace(
            TextEncoding.from_proto(encoding, "encodings"),
            notices=tuple(notice for notice in notices if notice.field == f"captions[{index}]"),
        )
        for index, encoding in enumerate(answer.encodings)
    ]

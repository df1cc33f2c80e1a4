"""CLIP embeddings and text encodings, with the space they belong to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unclip.api.type.v1 import embedding_pb2
from unclip.errors import PreconditionFailed
from unclip.wire import tensors


@dataclass(frozen=True, eq=False)
class Embedding:
    """A point of CLIP's joint space, unnormalised. values: float32 ``[D]``; clip_space: digest that names the CLIP."""

    values: npt.NDArray[np.float32]
    clip_space: str

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
    """All a text encoder says of a caption. token_states: float32 ``[L, H]``; token_mask: bool ``[L]``."""

    embedding: Embedding
    token_states: npt.NDArray[np.float32]
    token_mask: npt.NDArray[np.bool_]

    @classmethod
    def blank(cls, dim: int, context: int, width: int) -> TextEncoding:
        """Zeros of the given sizes, every position a token: for trial runs."""
        zeros = np.zeros((context, width), np.float32)
        return cls(Embedding(np.zeros(dim, np.float32), ""), zeros, np.ones(context, np.bool_))

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
    ) -> TextEncoding:
        """The encoding in a message; context L and width H say what is expected, None takes any.

        Raises:
            InvalidRequest: a tensor has another type or shape, or L differs between them.
            PreconditionFailed: it belongs to another CLIP.
        """
        embedding = Embedding.from_proto(message.embedding, f"{field}.embedding", clip_space=clip_space, dim=dim)
        states = tensors.from_proto(
            message.token_states, f"{field}.token_states", dtype=np.float32, shape=[context, width]
        )
        mask = tensors.from_proto(message.token_mask, f"{field}.token_mask", dtype=np.bool_, shape=[len(states)])
        return cls(embedding, states.copy(), mask.copy())

    def to_proto(self) -> embedding_pb2.TextEncoding:
        """The message."""
        return embedding_pb2.TextEncoding(
            embedding=self.embedding.to_proto(),
            token_states=tensors.to_proto(self.token_states),
            token_mask=tensors.to_proto(self.token_mask),
        )

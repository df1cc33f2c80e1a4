"""Clients of the gateway: ``Client`` blocks, ``AsyncClient`` awaits; both speak the plain values exported here."""

from unclip.checkpoints.vocabulary import Vocabulary
from unclip.client.aio import AsyncClient
from unclip.client.answers import (
    Embeddings,
    Event,
    GeneratedImage,
    ImageFile,
    ModelInfo,
    Preview,
    Progress,
    Recipe,
    ReplicaCount,
    StageInfo,
)
from unclip.client.blocking import Client
from unclip.client.provenance import Mark, Provenance, Signature, read_provenance
from unclip.client.recipes import read_recipe
from unclip.client.values import (
    Edit,
    FileFormat,
    Fit,
    Generate,
    Interpolate,
    Picture,
    Quality,
    Request,
    Sampling,
    StageName,
    TextDiff,
    Vary,
)
from unclip.client.vectors import load_embeddings, save_embeddings
from unclip.options import Sizes
from unclip.wire.embeddings import Embedding
from unclip.wire.notices import Notice

__all__ = [
    "AsyncClient",
    "Client",
    "Edit",
    "Embedding",
    "Embeddings",
    "Event",
    "FileFormat",
    "Fit",
    "Generate",
    "GeneratedImage",
    "ImageFile",
    "Interpolate",
    "Mark",
    "ModelInfo",
    "Notice",
    "Picture",
    "Preview",
    "Progress",
    "Provenance",
    "Quality",
    "Recipe",
    "ReplicaCount",
    "Request",
    "Sampling",
    "Signature",
    "Sizes",
    "StageInfo",
    "StageName",
    "TextDiff",
    "Vary",
    "Vocabulary",
    "load_embeddings",
    "read_provenance",
    "read_recipe",
    "save_embeddings",
]

"""Kandinsky 2.2 and Stable unCLIP in the sizes published: random weights in the places of a toy's.

Their toys (`tests.kandinsky`, `tests.stable_unclip`) have every small file; networks are put over them at full size,
those that are asked for, so that a service can be measured without its neighbours' weights. Of Stable unCLIP it is the
small one, which Karlo's prior completes: it alone draws captions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import (
    CLIPImageProcessorPil,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from tests import kandinsky, stable_unclip
from tests.bench import karlo
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.checkpoints.sources import sources


def bigg_text() -> Any:
    """CLIP ViT-bigG/14's text half."""
    sizes = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20}
    return CLIPTextModelWithProjection(CLIPTextConfig(**sizes, projection_dim=1280, hidden_act="gelu", eos_token_id=2))


def bigg_image() -> Any:
    """CLIP ViT-bigG/14's image half."""
    sizes = {"hidden_size": 1664, "intermediate_size": 8192, "num_hidden_layers": 48, "num_attention_heads": 16}
    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(**sizes, projection_dim=1280, image_size=224, patch_size=14, hidden_act="gelu")
    )


def h_text() -> Any:
    """OpenCLIP ViT-H/14's text half without its last layer, as Stable Diffusion 2 has it."""
    sizes = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16}
    return CLIPTextModel(CLIPTextConfig(**sizes, projection_dim=512, hidden_act="gelu", eos_token_id=2))


def of(module: Any, sizes: Mapping[str, Mapping[str, Any]], name: str) -> Callable[[], Any]:
    """A network of diffusers' by what a toy's module knows of its config."""
    return lambda: module.KINDS[name].from_config(module.configs(sizes)[name])


SMALL = {  # on ViT-L/14
    **stable_unclip.PUBLISHED,
    "unet": {**stable_unclip.PUBLISHED["unet"], "projection_class_embeddings_input_dim": 1536},
    "image_normalizer": {"embedding_dim": 768},
}


@dataclass(frozen=True)
class LatentFamily:
    """tiny: writes the toy's repositories. served: the one that a stack is given. networks: by component."""

    tiny: Callable[[Path], object]
    served: str
    networks: Mapping[str, Callable[[], Any]]

    def write(self, scratch: Path, components: Sequence[str]) -> tuple[Path, int]:
        """Writes the repositories, these components at full size, in float16; the one to serve, and how many numbers
        the components have."""
        self.tiny(scratch)
        found = sources(Checkpoint.open(scratch / self.served))
        if "image_encoder" in components:
            size = {"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}}
            CLIPImageProcessorPil(**size).save_pretrained(found["feature_extractor"].place("feature_extractor"))
        return scratch / self.served, sum(
            enlarge(found[name].place(name), self.networks[name]) for name in components if name in self.networks
        )


FAMILIES: Mapping[str, LatentFamily] = {
    "kandinsky": LatentFamily(
        kandinsky.make_tiny_kandinsky,
        kandinsky.DECODER,
        {
            "text_encoder": bigg_text,
            "image_encoder": bigg_image,
            "prior": of(kandinsky, kandinsky.PUBLISHED, "prior"),
            "decoder": of(kandinsky, kandinsky.PUBLISHED, "unet"),
            "autoencoder": of(kandinsky, kandinsky.PUBLISHED, "movq"),
        },
    ),
    "stable_unclip": LatentFamily(
        stable_unclip.make_tiny_stable_unclip,
        stable_unclip.SMALL,
        {
            "text_encoder": karlo.text_encoder,
            "decoder_text_encoder": h_text,
            "image_encoder": karlo.image_encoder,
            "prior": karlo.prior,
            "image_normalizer": of(stable_unclip, SMALL, "image_normalizer"),
            "decoder": of(stable_unclip, SMALL, "unet"),
            "autoencoder": of(stable_unclip, SMALL, "vae"),
        },
    ),
}


@torch.no_grad()
def enlarge(folder: Path, make: Callable[[], Any]) -> int:
    """Writes a network over a toy's component, each tensor drawn for itself; how many numbers it has."""
    with torch.device("meta"):
        network = make()
    [file] = folder.glob("*.safetensors")
    if hasattr(network, "config_class"):
        network.config.to_json_file(folder / "config.json")
    else:
        network.save_config(folder)
    weights = {key: karlo.drawn(key, value) for key, value in network.state_dict().items()}
    save_file(weights, file, {"format": "pt"})
    return sum(parameter.numel() for parameter in network.parameters())

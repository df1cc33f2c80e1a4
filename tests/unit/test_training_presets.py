"""Presets: one that no run could end with is refused as it is made."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from training.presets import PRESETS, Stage

SMOKE = PRESETS["smoke"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"decoder_kernel": 4}, "decoder_kernel must be odd; got 4"),
        ({"decoder_kernel": 3}, "decoder_kernel must be 1 more than a multiple of 4, where it grows; got 3"),
        (
            {"decoder_channels": (32, 64, 64)},
            r"decoder_channels must be alike in the two outermost, where it grows; got \(32, 64, 64\)",
        ),
        ({"decoder_channels": (32,)}, "decoder_channels must be alike in the two outermost"),
        ({"base_size": 15}, "base_size must be even, where the decoder grows; got 15"),
        ({"noises": 3}, "noises must be a divisor of small's batch, 4; got 3"),
        ({"decoder": Stage(3, 5, 1e-3)}, "noises must be a divisor of decoder's batch, 5; got 2"),
        (
            {"student_channels": (64, 32, 64)},
            r"student_channels must be the decoder's in the outermost, 32; got \(64, 32, 64\)",
        ),
    ],
)
def test_a_preset_that_cannot_end_is_refused_by_field_value_and_limit(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"preset smoke: {said}"):
        replace(SMOKE, **change)


def test_what_only_a_decoder_that_grows_or_a_student_needs_is_asked_of_no_other() -> None:
    alone = replace(SMOKE, small=Stage(0, 4, 1e-3), student=Stage(0, 4, 1e-3))
    replace(alone, decoder_kernel=3, decoder_channels=(32, 64, 64), student_channels=(64, 32, 64), base_size=15)

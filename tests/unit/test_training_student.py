"""What a decoder's student begins with."""

from __future__ import annotations

from dataclasses import replace

import torch

from training.decoder import untrained
from training.presets import PRESETS, Stage
from training.student import Student

PRESET = PRESETS["smoke"]
NARROWER = replace(PRESET, decoder_channels=(32, 64, 96), student_channels=(32, 32, 64), small=Stage(0, 4, 1e-3))


def test_a_student_as_wide_as_its_decoder_begins_as_that_one_whatever_the_scale() -> None:
    teacher = untrained(PRESET).eval()
    student = Student(PRESET, teacher).eval()
    x, t = torch.randn(2, 3, 16, 16), torch.tensor([900, 300])
    context, extra = torch.randn(2, PRESET.context + 4, 64), torch.randn(2, 128)
    mask = torch.ones(2, PRESET.context + 4, dtype=torch.bool)
    with torch.no_grad():
        said = student(x, t, torch.tensor([1.0, 8.0]), context, extra, mask)
        taught = teacher.painted(x, t, context, extra, mask)
    torch.testing.assert_close(said, taught[:, :3])


def test_a_narrower_one_begins_as_its_decoder_where_both_are_as_wide_and_takes_the_same_conditions() -> None:
    teacher = untrained(NARROWER).eval()
    student = Student(NARROWER, teacher).eval()
    mine, taught = student.unet.state_dict(), teacher.unet.state_dict()
    assert student.unet.config.block_out_channels == (32, 32, 64)
    alike = {name for name in mine if name in taught and torch.equal(mine[name], taught[name][: len(mine[name])])}
    assert {"conv_in.weight", "conv_out.weight", "time_embedding.linear_1.weight"} <= alike
    name = "down_blocks.1.resnets.0.conv1.weight"  # of 32 channels, where the decoder's has 64, each from 32
    torch.testing.assert_close(mine[name], taught[name][:32])
    name = "mid_block.resnets.0.conv1.weight"  # of 64, each from 64, where the decoder's has 96: fewer to sum up
    torch.testing.assert_close(mine[name], taught[name][:64, :64] * 1.5**0.5)
    context, extra = torch.randn(1, PRESET.context + 4, 96), torch.randn(1, 128)
    mask = torch.ones(1, PRESET.context + 4, dtype=torch.bool)
    x, t, scale = torch.randn(1, 3, 16, 16), torch.tensor([500]), torch.tensor([3.0])
    assert student(x, t, scale, context, extra, mask).shape == (1, 3, 16, 16)
    assert teacher.painted(x, t, context, extra, mask).shape == (1, 3, 16, 16)

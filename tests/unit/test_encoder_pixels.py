"""What CLIP sees of a picture is what its own processor makes of it, without the pixels that it would crop away."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from transformers import CLIPImageProcessorPil

from encoder_svc.encoder import centre

THIN = [(224, 4000), (4000, 224), (100, 1999), (1, 40), (40, 3), (61, 1024)]


def picture(size: tuple[int, int]) -> Image.Image:
    """Smooth, and of every colour."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 40 + phase) * np.cos(y / 30 - phase) for phase in (0.0, 1.0, 2.0)]
    return Image.fromarray((127.5 + 120 * np.stack(waves, axis=2)).astype(np.uint8))


@pytest.mark.parametrize(("short", "crop"), [(224, 224), (64, 64), (72, 64)])
@pytest.mark.parametrize("size", THIN)
def test_the_middle_of_a_thin_picture_is_cropped_before_it_is_resized(
    size: tuple[int, int], short: int, crop: int
) -> None:
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": short}, crop_size={"height": crop, "width": crop}, do_rescale=False, do_normalize=False
    )
    expected = processor([picture(size)], return_tensors="np").pixel_values[0]
    found = centre(picture(size), processor)
    if found is None:
        assert max(size) <= 18 * min(size)
        return
    assert np.abs(np.asarray(found).transpose(2, 0, 1).astype(int) - expected.astype(int)).max() <= 2


@pytest.mark.parametrize("size", [(224, 224), (223, 500), (640, 480)])
def test_where_little_is_cropped_the_processor_does_it(size: tuple[int, int]) -> None:
    assert centre(picture(size), CLIPImageProcessorPil()) is None


def test_a_processor_that_pads_or_does_not_crop_is_left_to_its_own_ways() -> None:
    padding = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 64, "width": 64})
    assert centre(picture((100, 100)), padding) is None
    assert centre(picture((100, 100)), CLIPImageProcessorPil(do_center_crop=False)) is None


def test_a_thin_picture_costs_next_to_nothing() -> None:
    """1 x 4096 px, whose shortest edge at 224 px would make it 224 x 917504."""
    code = (
        "from PIL import Image; from transformers import CLIPImageProcessorPil; from encoder_svc.encoder import centre;"
        "from tests.processes import resident;"
        "thin, before = Image.new('RGB', (1, 4096)), resident('VmHWM');"
        "assert centre(thin, CLIPImageProcessorPil()).size == (224, 224);"
        "print(resident('VmHWM') - before)"
    )
    grown = int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    assert grown < 20 * 2**20

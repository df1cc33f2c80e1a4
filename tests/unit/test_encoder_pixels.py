"""What CLIP sees of a picture is what its own processor makes of it, without the pixels that it would crop away."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from transformers import CLIPImageProcessorPil

from encoder_svc.looking import CenterCrop

THIN = [(224, 4000), (4000, 224), (100, 1999), (1, 40), (40, 3), (61, 1024)]


def picture(size: tuple[int, int]) -> Image.Image:
    """Smooth, and of every colour."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 40 + phase) * np.cos(y / 30 - phase) for phase in (0.0, 1.0, 2.0)]
    return Image.fromarray((127.5 + 120 * np.stack(waves, axis=2)).astype(np.uint8))


def processor_of(short: int, crop: int) -> CLIPImageProcessorPil:
    return CLIPImageProcessorPil(
        size={"shortest_edge": short}, crop_size={"height": crop, "width": crop}, do_rescale=False, do_normalize=False
    )


def look_of(processor: CLIPImageProcessorPil) -> CenterCrop:
    found = CenterCrop.of(processor)
    assert found is not None
    return found


@pytest.mark.parametrize(("short", "crop"), [(224, 224), (64, 64), (72, 64)])
@pytest.mark.parametrize("size", THIN)
def test_the_middle_of_a_thin_picture_is_cropped_before_it_is_resized(
    size: tuple[int, int], short: int, crop: int
) -> None:
    processor = processor_of(short, crop)
    expected = processor([picture(size)], return_tensors="np").pixel_values[0]
    found = look_of(processor).at(picture(size))
    assert np.abs(np.asarray(found).transpose(2, 0, 1).astype(int) - expected.astype(int)).max() <= 2


@pytest.mark.parametrize(("short", "crop"), [(224, 224), (65, 64), (72, 65)])
@pytest.mark.parametrize("size", [(224, 224), (223, 500), (640, 481), (64, 333), (300, 100), (40, 41)])
def test_of_any_other_picture_every_pixel_is_the_processors(size: tuple[int, int], short: int, crop: int) -> None:
    chance = np.random.default_rng(0)
    noise = Image.fromarray(chance.integers(0, 256, (size[1], size[0], 3), np.uint8))
    processor = processor_of(short, crop)
    expected = processor([noise], return_tensors="np").pixel_values[0]
    assert (np.asarray(look_of(processor).at(noise)).transpose(2, 0, 1) == expected).all()


def test_a_processor_that_pads_or_does_not_crop_is_left_to_its_own_ways() -> None:
    padding = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 64, "width": 64})
    assert look_of(padding).at(picture((100, 100))) is None
    assert CenterCrop.of(CLIPImageProcessorPil(do_center_crop=False)) is None


def test_a_thin_picture_costs_next_to_nothing() -> None:
    """1 x 4096 px, whose shortest edge at 224 px would make it 224 x 917504."""
    code = (
        "from PIL import Image; from transformers import CLIPImageProcessorPil;"
        "from encoder_svc.looking import CenterCrop;"
        "from tests.processes import resident;"
        "thin, before = Image.new('RGB', (1, 4096)), resident('VmHWM');"
        "assert CenterCrop.of(CLIPImageProcessorPil()).at(thin).size == (224, 224);"
        "print(resident('VmHWM') - before)"
    )
    grown = int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    assert grown < 20 * 2**20

"""Pictures that are not square become squares as the request says: cropped by the stages, or letterboxed before."""

from __future__ import annotations

import hashlib
import io

import numpy as np
from PIL import Image

from gateway.requests.planning import read_embed
from gateway.requests.reading import LARGE, Reader
from gateway.requests.recipes import recipe
from tests.drill.poison import scanned
from tests.unit.gateway_plans import broken, diff_plan, interpolate_plan, png, vary_plan
from unclip.api.gateway.v1 import gateway_pb2
from unclip.api.type.v1 import image_pb2
from unclip.wire.images import encode_image
from unclip.wire.picture_headers import read_header

LETTERBOX = gateway_pb2.FIT_LETTERBOX
WIDE = png(size=(16, 8))


def colourful(width: int, height: int) -> image_pb2.Image:
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 40 + phase) * np.cos(y / 30 - phase) for phase in (0.0, 1.0, 2.0)]
    return encode_image(Image.fromarray((127.5 + 120 * np.stack(waves, axis=2)).astype(np.uint8)), compress_level=1)


def test_a_picture_is_cropped_unless_it_is_asked_to_be_letterboxed() -> None:
    for plan in (vary_plan(image=WIDE), vary_plan(image=WIDE, fit=gateway_pb2.FIT_CENTER_CROP)):
        assert (plan.fit, plan.image.data) == ("crop", WIDE.data)  # the stages crop it


def test_a_letterboxed_picture_travels_as_a_square_and_is_known_by_the_file_that_came() -> None:
    to: dict[str, object] = {"to_image": WIDE}
    sources = [
        *vary_plan(image=WIDE, fit=LETTERBOX).sources,
        *diff_plan(image=WIDE, after="x", fit=LETTERBOX).sources,
        *interpolate_plan(image=WIDE, fit=LETTERBOX, **to).sources,
        *(read() for _, read in read_embed(gateway_pb2.EmbedRequest(images=[WIDE], fit=LETTERBOX), Reader())),
    ]
    assert len(sources) == 5
    for source in sources:
        with Image.open(io.BytesIO(source.data)) as square:
            assert square.size == (16, 16)
        assert source.digest == hashlib.sha256(WIDE.data).hexdigest()


def test_of_a_large_picture_the_square_travels_that_models_see_and_what_cropping_leaves_is_exact() -> None:
    large, wide = colourful(1500, 1200), colourful(3000, 500)
    sent = vary_plan(image=large)
    with Image.open(io.BytesIO(sent.image.data)) as square, Image.open(io.BytesIO(large.data)) as whole:
        assert square.size == (1024, 1024)
        expected = whole.convert("RGB").crop((150, 0, 1350, 1200)).resize((1024, 1024), Image.Resampling.BICUBIC)
        assert np.abs(np.asarray(square).astype(int) - np.asarray(expected).astype(int)).max() <= 1
    assert sent.image.digest == hashlib.sha256(large.data).hexdigest()
    with Image.open(io.BytesIO(vary_plan(image=wide).image.data)) as square, Image.open(io.BytesIO(wide.data)) as whole:
        assert (np.asarray(square) == np.asarray(whole.convert("RGB").crop((1250, 0, 1750, 500)))).all()


def test_a_picture_of_many_scans_is_read_once_and_not_by_every_stage() -> None:
    many = scanned(500, 400)
    sent = vary_plan(image=many).image.data
    assert sent != many.data
    assert read_header(sent).cost < LARGE


def test_a_letterboxed_square_is_sent_as_it_came() -> None:
    assert vary_plan(image=png(), fit=LETTERBOX).image.data == png().data


def test_transparency_in_a_letterbox_shows_white_like_its_bars() -> None:
    clear = png("RGBA", (16, 8))
    with Image.open(io.BytesIO(vary_plan(image=clear, fit=LETTERBOX).image.data)) as square:
        assert square.convert("RGB").getcolors() == [(256, (255, 255, 255))]


def test_the_fit_is_part_of_a_recipe() -> None:
    assert recipe(vary_plan(image=WIDE, fit=LETTERBOX), 0).vary.fit == LETTERBOX
    assert recipe(diff_plan(image=WIDE, after="x", fit=LETTERBOX), 0).text_diff.fit == LETTERBOX
    assert recipe(interpolate_plan(image=WIDE, to_caption="x", fit=LETTERBOX), 0).interpolate.fit == LETTERBOX
    assert recipe(vary_plan(image=WIDE), 0).vary.fit == gateway_pb2.FIT_CENTER_CROP


def test_a_fit_that_does_not_exist_is_refused() -> None:
    asked = gateway_pb2.VaryRequest(image=png(), fit=9)  # type: ignore[arg-type]
    found = broken(gateway_pb2.StreamRequest(vary=asked))
    assert found == {"fit": "must be one of FIT_UNSPECIFIED, FIT_CENTER_CROP, FIT_LETTERBOX; got 9"}

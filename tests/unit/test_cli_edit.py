"""``unclip edit`` against a gateway's socket: masks, and pictures continued beyond their edges."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.contract.gateways import noise_picture
from tests.contract.odd_inputs.files import GREY, chunk, exif, png_of, turned
from tests.unit.client_peer import GatewayPeer, picture, printed_json
from unclip.api.gateway.v1 import gateway_pb2
from unclip.api.type.v1 import sampling_pb2
from unclip.cli import main
from unclip.cli.making import fitted
from unclip.client.pictures import open_picture

pytestmark = pytest.mark.usefixtures("called_peer")


def test_edit_sends_picture_and_mask(peer: GatewayPeer, house: Path, tmp_path: Path) -> None:
    (tmp_path / "mask.png").write_bytes(picture(8))
    options = "--mask mask.png --negative rain --resampling 4 --count 2 --seed 5 --fit letterbox --decoder-sampler ddpm"

    choice = "--candidates 9 --prior-candidates 3"

    assert main(["edit", str(house), "a house", *options.split(), *choice.split()]) == 0

    sent = peer.streamed().edit
    assert (sent.image.data, sent.mask.data, sent.caption) == (picture(7), picture(8), "a house")
    assert (sent.negative_caption, sent.resampling, sent.image_count, sent.seed) == ("rain", 4, 2, 5)
    assert (sent.candidates, sent.prior_candidates) == (9, 3)
    assert (sent.fit, sent.decoder.sampler) == (gateway_pb2.FIT_LETTERBOX, sampling_pb2.SAMPLER_DDPM)
    assert Path("out/edit-house-a-house-5.png").exists()
    assert Path("out/edit-house-a-house-6.png").exists()


@pytest.mark.parametrize(("margins", "box"), [("4", (4, 4, 20, 20)), ("1,2,3,0", (1, 2, 17, 18))])
def test_edit_continues_a_picture_beyond_its_edges(
    peer: GatewayPeer, house: Path, capsys: pytest.CaptureFixture[str], margins: str, box: tuple[int, int, int, int]
) -> None:
    assert main(["edit", str(house), "a house", "--pad", margins, "--json"]) == 0

    canvas = Path(printed_json(capsys)["canvas"])
    assert peer.streamed().edit.image.data == canvas.read_bytes()
    assert not peer.streamed().edit.HasField("mask")
    with Image.open(canvas) as sent:
        assert sent.getchannel("A").getbbox() == box


@pytest.mark.parametrize("margins", ["x", "1,2", "-1", "0", "0,0,0,0", "1,2,3,4,5"])
def test_margins_that_make_no_sense_are_a_mistake_in_the_arguments(
    peer: GatewayPeer, house: Path, capsys: pytest.CaptureFixture[str], margins: str
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["edit", str(house), "a house", f"--pad={margins}"])
    assert left.value.code == 2
    assert "--pad" in capsys.readouterr().err


def test_a_picture_that_cannot_be_padded_is_one_line(peer: GatewayPeer, capsys: pytest.CaptureFixture[str]) -> None:
    Path("words.png").write_text("no picture")
    for name, found in (("nowhere.png", "cannot read nowhere.png"), ("words.png", "must be a picture; got")):
        assert main(["edit", name, "a house", "--pad", "4"]) == 2
        told = capsys.readouterr().err
        assert told.startswith(f"unclip: image: {found}")
        assert told.count("\n") == 1
    assert peer.asked == []


def test_what_is_padded_and_shown_beside_variations_is_what_gateways_see(
    peer: GatewayPeer, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = noise_picture(24, 20)
    stored = turned(pixels[..., 0].astype(int) * 257, 6)
    told = chunk(b"eXIf", exif(6)), chunk(b"zTXt", b"k\0\0" + zlib.compress(b"a" * 2_000_000))
    Path("deep.png").write_bytes(png_of(stored, GREY, 16, *told))
    assert main(["edit", "deep.png", "a house", "--pad", "4", "--json"]) == 0
    with Image.open(printed_json(capsys)["canvas"]) as canvas:
        inside = np.asarray(canvas)[4:-4, 4:-4]
    assert np.array_equal(inside, np.dstack([*[pixels[..., 0]] * 3, np.full((24, 20), 255)]))
    assert main(["vary", "deep.png", "--count", "2"]) == 0
    with Image.open(next(Path("out").glob("vary-deep-*-sheet.png"))) as sheet:
        shown = fitted(open_picture("deep.png", "image"), (16, 16), "crop").convert("RGB")
        enlarged = shown.resize((128, 128), Image.Resampling.NEAREST)
        assert np.array_equal(np.asarray(sheet)[12:140, 12:140], np.asarray(enlarged))

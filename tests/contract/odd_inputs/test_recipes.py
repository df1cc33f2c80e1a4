"""Recipes of strangers: what is not the recipe of one picture is one line and exit 2, and no gateway is asked."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.contract.odd_inputs.conftest import Refused
from tests.unit.client_peer import GatewayPeer, picture
from unclip import read_recipe
from unclip.cli import main
from unclip.errors import InvalidRequest
from unclip.wire.recipe_text import png_info

HOUSE = hashlib.sha256(picture(7)).hexdigest()
ESCAPE = "\x1b[2J\x1b]0;owned\x07\x9b1m\u202e"


def recipe(kind: str = "generate", **more: Any) -> dict[str, Any]:
    """As a gateway writes it, with ``more`` in the request; what is None is left out."""
    kinds: dict[str, dict[str, Any]] = {
        "generate": {"caption": "a cat", "seed": "1", "image_count": 1},
        "vary": {"seed": "1", "image_count": 1, "eta": 1},
        "text_diff": {"before": "a", "after": "b", "thetas": [0.5], "seed": "1"},
        "interpolate": {"to_caption": "a cat", "ts": [0.5], "seed": "1"},
        "edit": {"caption": "a cat", "seed": "1", "image_count": 1, "resampling": 2},
    }
    asked = {name: value for name, value in {**kinds[kind], **more}.items() if value is not None}
    digests = [] if kind == "generate" else [HOUSE]
    return {
        "unclip_recipe": 1,
        "recipe": {kind: asked},
        "model_version": "v1",
        "source_digests": digests,
        "stage_versions": {},
    }


def outside(**fields: Any) -> str:
    return json.dumps({**recipe(), **fields})


def file_with(text: str) -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").resize((16, 16)).save(file, "PNG", pnginfo=png_info(text))
    return file.getvalue()


TOO_MUCH: Mapping[str, str] = {
    name: json.dumps(value)
    for name, value in {
        "two pictures": recipe(image_count=2),
        "no pictures": recipe(image_count=0),
        "2^31 - 1 pictures": recipe(image_count=2**31 - 1),
        "64 candidates": recipe(candidates=64),
        "two pictures of 64 candidates in 1000 steps": recipe(
            image_count=2, candidates=64, prior_candidates=16, decoder={"steps": 1000}
        ),
        "17 prior candidates": recipe(prior_candidates=17),
        "1001 steps": recipe(decoder={"steps": 1001}),
        "no steps": recipe(prior={"steps": 0}),
        "steps below 0": recipe(upsampler={"steps": -1}),
        "guidance beyond the limit": recipe(decoder={"guidance_scale": 31}),
        "guidance that is no number": recipe(decoder={"guidance_scale": "NaN"}),
        "eta beyond the limit": recipe("vary", eta=1.5),
        "a measurement": recipe("vary", report_psnr=True),
        "a picture inside": recipe("vary", image={"data": "AAAA"}),
        "two frames": recipe("text_diff", thetas=[0.1, 0.2]),
        "a frame beyond the end": recipe("text_diff", thetas=[1.5]),
        "a frame nowhere": recipe("interpolate", ts=["NaN"]),
        "65 frames": recipe("interpolate", ts=[0.5] * 65),
        "a format of no number": recipe(format=9),
        "a fit of no number": recipe("vary", fit=-1),
        "11 takes": recipe("edit", resampling=11),
        "a long caption": recipe(caption="a" * 5000),
        "a caption that steers": recipe(caption=ESCAPE),
        "a negative caption that steers": recipe(negative_caption="\x1b[2J"),
    }.items()
} | {
    "previews": outside(recipe={**recipe()["recipe"], "preview_interval": 1}),
    "15,000 sources": outside(source_digests=[f"{index:064x}" for index in range(15_000)]),
    "three sources": outside(source_digests=[HOUSE] * 3),
    "a source that is no digest": outside(source_digests=[ESCAPE]),
    "a long digest": outside(source_digests=["a" * 50_000]),
    "a long version": outside(model_version="v" * 50_000),
    "a thousand stages": outside(stage_versions={str(index): "v" for index in range(1000)}),
    "a stage with a long name": outside(stage_versions={"s" * 50_000: "v"}),
}
DAMAGED: Mapping[str, str] = {
    "nothing": " ",
    "no JSON": "no recipe",
    "half of it": outside()[:-20],
    "a list": "[]",
    "deep": "[" * 50_000,
    "deep inside": outside(recipe={"generate": json.loads("[" * 400 + "]" * 400)}),
    "another version": outside(unclip_recipe=2),
    "a version that is a list": outside(unclip_recipe=[1] * 9000),
    "a version that steers": outside(unclip_recipe=ESCAPE),
    "no request": outside(recipe={}),
    "two requests": outside(recipe={**recipe()["recipe"], **recipe("vary")["recipe"]}),
    "an unknown request": outside(recipe={ESCAPE: {}}),
    "an unknown field": outside(recipe={"generate": {ESCAPE: 1}}),
    "a seed beyond 64 bits": json.dumps(recipe(seed=2**63)),
    "a seed of 5000 digits": json.dumps(recipe(seed=None)).replace('"caption"', f'"seed": {"9" * 5000}, "caption"'),
    "a caption that is a number": json.dumps(recipe(caption=1)),
    "a caption of half a character": json.dumps(recipe(caption="\ud800")),
    "a request of half a character": outside(recipe="\ud800"),
    "a sampler of half a character": json.dumps(recipe(decoder={"sampler": "\ud800"})),
    "a field of half a character": outside(recipe={"\ud800": {}}),
    "a model version of half a character": outside(model_version="\ud800"),
    "a model version that is none": outside(model_version=None),
    "sources that are a text": outside(source_digests=HOUSE),
    "stage versions that are a list": outside(stage_versions=["v1"]),
    "a stage version that is a number": outside(stage_versions={"decoder": 1}),
}


@pytest.mark.parametrize("case", [*TOO_MUCH, *DAMAGED])
def test_what_is_not_the_recipe_of_one_picture_is_refused_before_any_work(
    peer: GatewayPeer, refused: Refused, case: str
) -> None:
    data = file_with({**TOO_MUCH, **DAMAGED}[case])
    Path("stranger.png").write_bytes(data)
    said = refused("replay", "stranger.png")
    assert said.startswith(
        "unclip: picture: holds a recipe that is not of one picture" if case in TOO_MUCH else "unclip: picture: "
    )
    assert not Path("out").exists()
    with pytest.raises(InvalidRequest):
        read_recipe(data)
    assert peer.asked == []


@pytest.mark.parametrize("kind", ["generate", "vary", "text_diff", "interpolate", "edit"])
def test_what_gateways_write_is_replayed(peer: GatewayPeer, kind: str) -> None:
    Path("ours.png").write_bytes(file_with(json.dumps(recipe(kind, decoder={"steps": 1000}))))
    assert main(["replay", "ours.png"]) == 0
    assert len(peer.asked) == 2  # for the model's version, and for the picture


def test_what_a_file_says_of_its_model_does_not_steer_the_terminal(
    peer: GatewayPeer, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("stranger.png").write_bytes(file_with(outside(model_version=ESCAPE)))
    assert main(["replay", "stranger.png"]) == 4
    told = capsys.readouterr().err
    assert told[:-1].isprintable()
    assert "\\u001b[2J" in told
    assert main(["replay", "stranger.png", "--any-model"]) == 0
    assert all(line.isprintable() for line in capsys.readouterr().out.splitlines())

"""A caption with words that the model was never taught is drawn all the same, and every answer says which they are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.contract.conftest import serving
from tests.contract.gateways import gateway_of, pixels_of
from tests.contract.odd_inputs.captioned import CAPTIONED, QUICK
from tests.contract.services import Bounds, Services
from tests.contract.toys import MODEL, Toy
from tests.tiny import CONTEXT
from unclip import Client
from unclip.api.encoder.v1 import encoder_pb2
from unclip.client import Generate, GeneratedImage, Notice, Vocabulary

TAUGHT = Vocabulary(
    concepts=("red cat", "dog"),
    synonyms={"puppy": "dog"},
    styles=("flat",),
    colours=("red",),
    backgrounds=("white",),
    counts=("two",),
    words=("emoji",),
    captions=("a red cat", "two dogs"),
)
GUESS = "what it draws for that is a guess"


@pytest.fixture(scope="module")
def taught(checkpoint: Path | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """All stages of a checkpoint that says what it was taught."""
    if checkpoint is not None:
        checkpoint = shutil.copytree(checkpoint, tmp_path_factory.mktemp("taught") / "tiny")
        manifest = json.loads((checkpoint / "unclip.json").read_text())
        (checkpoint / "unclip.json").write_text(json.dumps({**manifest, "vocabulary": TAUGHT.to_json()}))
    with serving(Bounds(), checkpoint, Toy(replace(MODEL, vocabulary=TAUGHT))) as services:
        yield services


@pytest.fixture(scope="module")
def pupil(taught: Services) -> Iterator[Client]:
    """A client of a gateway in front of them."""
    with gateway_of(taught) as client:
        yield client


@pytest.mark.parametrize(("method", "field", "given"), CAPTIONED)
def test_words_that_were_never_taught_are_told(pupil: Client, method: str, field: str, given: dict[str, Any]) -> None:
    for _ in ("fresh", "from the cache"):
        [image] = getattr(pupil, method)(**given, **{field: "Ox dgo"}, **QUICK)
        assert image.notices == (
            Notice("words_unknown", field, ("Ox", "dgo"), f'the model was never taught "Ox", "dgo": {GUESS}'),
        )
    [image] = getattr(pupil, method)(**given, **{field: "puppy"}, **QUICK)
    assert image.notices == ()


def test_each_caption_has_its_own_and_what_was_cut_is_told_beside_it(pupil: Client) -> None:
    answer = pupil.embed(["a flat dog", "a flatt dog", "ox " + "red " * CONTEXT + "cow"])
    assert [(notice.kind, notice.field, notice.parts[0]) for notice in answer.notices] == [
        ("words_unknown", "captions[1]", "flatt"),
        ("caption_cut", "captions[2]", answer.notices[1].parts[0]),
        ("words_unknown", "captions[2]", "ox"),
    ]
    assert answer.notices[0].message == f'the model was never taught "flatt" (is "flat" meant?): {GUESS}'
    assert answer.notices[1].parts[0].endswith("cow")
    assert answer.notices[2].parts == ("ox",)  # of the end that is not read nothing more is to be said


def test_a_caption_of_nothing_else_is_drawn(pupil: Client) -> None:
    [image] = pupil.generate("ёж 🚜", seed=1, **QUICK)
    assert image.notices[0].parts == ("ёж", "🚜")
    assert pixels_of(image).any()


def test_a_stream_tells_it_once_before_the_first_picture(pupil: Client) -> None:
    request = Generate("a tractor", image_count=2, **QUICK)
    events = [event for event in pupil.stream(request) if isinstance(event, (Notice, GeneratedImage))]
    assert [type(event) for event in events] == [Notice, GeneratedImage, GeneratedImage]


def test_a_model_that_does_not_say_what_it_was_taught_says_nothing_of_words(client: Client) -> None:
    [image] = client.generate("a tractor", **QUICK)
    assert image.notices == ()
    assert client.model_info(vocabulary=True).vocabulary is None
    assert client.model_info().captions == ()


def test_examples_are_told_unasked_and_the_whole_where_it_is_asked_for(pupil: Client, taught: Services) -> None:
    unasked, asked = pupil.model_info(), pupil.model_info(vocabulary=True)
    assert (unasked.captions, unasked.vocabulary) == (TAUGHT.captions, None)
    assert (asked.captions, asked.vocabulary) == (TAUGHT.captions, TAUGHT)
    assert asked.version == unasked.version
    [*models] = [
        taught.encoder.GetModelInfo(encoder_pb2.GetModelInfoRequest(vocabulary=whole)).model for whole in (False, True)
    ]
    assert [model.HasField("vocabulary") for model in models] == [False, True]
    assert [list(model.captions) for model in models] == [list(TAUGHT.captions)] * 2
    others = [model for stage, model in taught.infos() if stage != models[0].stages[0].stage]
    assert [list(model.captions) for model in others] == [[]] * 3

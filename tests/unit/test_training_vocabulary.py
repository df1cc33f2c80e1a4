"""What the recipe says that it taught is what its captions can have, no more, and examples are of what it showed."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from tests.unit.training_drawings import COLOURS as DRAWN
from tests.unit.training_drawings import drawing
from training import presets, vocabulary
from training.captions import COUNTS, countable, couple_caption, varied_caption
from training.colours import COLOURS
from training.pictures import BACKGROUNDS
from training.presets import PRESETS, Preset
from training.split import Split
from training.views import BESIDE
from training.vocabulary import vocabulary_of
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.checkpoints.words import KnownWords
from unclip.local.stack import find_checkpoint

PAIRS = [
    replace(drawing(label, style, 16), synonyms=("pup",) if label == "dog face" else (), tags=("round", "size 9"))
    for style in ("flat", "noto", "3d")
    for label in DRAWN
]
CPU = PRESETS["cpu"]
LONE = replace(CPU, name="lone", variety=presets.PLAIN)  # it neither turns colours nor counts


@pytest.mark.parametrize("preset", [CPU, LONE], ids=lambda preset: str(preset.name))
def test_every_word_that_a_caption_may_have_is_in_it(preset: Preset) -> None:
    known, random = KnownWords(vocabulary_of(preset, PAIRS)), Random(0)
    for pair in PAIRS * 20:
        colour = random.choice(sorted(COLOURS)) if preset.variety.recoloured else None
        count = random.choice(sorted(COUNTS)) if preset.variety.counted and countable(pair) else ""
        background = f"{random.choice(BACKGROUNDS)[0]} to {random.choice(BACKGROUNDS)[0]}"
        caption = varied_caption(pair, background, random, colour, count)
        assert not known.unknown(caption.replace("size 9", "size")), caption
        assert not known.unknown(couple_caption(pair, random.choice(sorted(BESIDE)), PAIRS[0], "white"))


def test_it_names_what_the_preset_teaches_and_nothing_else() -> None:
    cpu, lone = vocabulary_of(CPU, PAIRS), vocabulary_of(LONE, PAIRS[:4])
    assert cpu.concepts == ("banana", "dog face", "red apple", "red heart")
    assert cpu.synonyms == {"pup": "dog face"}
    assert cpu.styles == ("flat", "noto", "3d")  # of eight, those that drew something
    assert (cpu.colours, cpu.counts) == (tuple(COLOURS), tuple(COUNTS))
    assert (lone.colours, lone.counts, lone.styles) == ((), (), ("flat",))
    assert lone.backgrounds == ("white", *(name for name, _ in BACKGROUNDS))
    assert lone.words == ("background", "drawing", "emoji", "picture", "round", "size", "style")


def test_examples_are_of_pictures_that_were_taught_and_of_combinations_that_were_not_held_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taught = [*PAIRS, replace(PAIRS[0], label="green apple")]
    taught = [pair for pair in taught if pair.key != "flat/red heart"]
    hidden = Split(colours=frozenset({"blue apple"}), counts=frozenset({"two red hearts"}))
    monkeypatch.setattr(Preset, "hidden", lambda preset: hidden)
    assert vocabulary_of(CPU, taught).captions == (
        "a flat emoji of a red apple",
        "a noto emoji of a red heart",
        "a 3d emoji of a red apple on a blue background",
        "a flat emoji of an orange apple",  # a red one is a drawing of its own
        "a noto emoji of three red hearts",
    )


def test_the_tool_writes_it_into_a_manifest_and_leaves_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(presets, "pairs", lambda concepts, styles, size, cache: PAIRS)
    manifest = {"format": 1, "preset": "cpu", "clip_space": "abc", "files": {"prior/config.json": "0"}}
    (tmp_path / "unclip.json").write_text(json.dumps(manifest))
    monkeypatch.setattr(vocabulary, "preset_of", lambda folder: PRESETS["cpu"])
    monkeypatch.setattr(sys, "argv", ["vocabulary", str(tmp_path), "--without-synonyms"])
    vocabulary.main()
    written = json.loads((tmp_path / "unclip.json").read_text())
    assert {name: value for name, value in written.items() if name != "vocabulary"} == manifest
    taught = Checkpoint.open(tmp_path).vocabulary
    assert taught is not None
    assert (taught.concepts, taught.synonyms) == (("banana", "dog face", "red apple", "red heart"), {})
    assert capsys.readouterr().out.endswith("unclip.json: 4 concepts, 4 examples\n")


def test_the_embedded_checkpoint_says_what_it_was_taught() -> None:
    checkpoint = Checkpoint.open(find_checkpoint())
    taught = checkpoint.vocabulary
    assert taught is not None
    concepts = PRESETS[str(checkpoint.manifest["preset"])].drawn
    assert set(taught.concepts) == set(concepts or ())
    assert len(taught.captions) >= 12
    known = KnownWords(taught)
    assert [known.unknown(caption) for caption in taught.captions] == [{}] * len(taught.captions)
    assert known.unknown("a flat emoji of a red appel") == {"appel": "apple"}
    assert any(caption.endswith("a red apple") for caption in taught.captions)  # the demo's text diff begins there

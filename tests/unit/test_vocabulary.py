"""What a checkpoint was taught is read as strangers' words are, and the other words of captions are found by rules."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from encoder_svc.encoder import Encoder
from encoder_svc.tokenizer import Tokenizer
from tests.tiny import CONTEXT
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.checkpoints.components import EVERY_FOLDER
from unclip.checkpoints.convert import convert
from unclip.checkpoints.manifest import write_manifest
from unclip.checkpoints.vocabulary import MAX_BYTES, MAX_CAPTIONS, MAX_TEXT, MAX_TEXTS, Vocabulary
from unclip.checkpoints.words import KnownWords
from unclip.cli.local_checks import weights
from unclip.errors import CheckpointError
from unclip.wire.notices import words_unknown

TAUGHT = Vocabulary(
    concepts=(
        "red apple",
        "dog face",
        "wolf",
        "cherries",
        "glasses",
        "mouse",
        "fly",
        "yo-yo",
        "T-Rex",
        "man's shoe",
        "teacup",
    ),
    synonyms={"puppy": "dog face", "spectacles": "glasses"},
    styles=("flat", "3d"),
    colours=("red", "blue"),
    backgrounds=("white", "grey"),
    counts=("two", "three"),
    words=("emoji", "background", "fruit"),
    captions=("a flat emoji of a red apple", "two red apples on a grey background"),
)
KNOWN = KnownWords(TAUGHT, ["a photo of {}"])


def test_a_vocabulary_is_written_as_it_is_read() -> None:
    written = json.loads(json.dumps(TAUGHT.to_json()))
    assert Vocabulary.from_json(written) == TAUGHT
    assert Vocabulary().to_json() == {}
    assert Vocabulary.from_json({"younger": 1}) == Vocabulary()


MALFORMED: dict[str, tuple[Any, str]] = {
    "no object": ([], r"vocabulary must be a JSON object; got \[\]"),
    "null": (None, "vocabulary must be a JSON object; got None"),
    "a text for a list": ({"concepts": "apple"}, r"vocabulary\.concepts must be a list; got 'apple'"),
    "a number": ({"styles": [3]}, rf"vocabulary\.styles must be texts of 1 to {MAX_TEXT} characters that show; got 3"),
    "an empty text": ({"styles": [""]}, r"vocabulary\.styles must be texts"),
    "spaces around": ({"words": [" red"]}, r"vocabulary\.words must be texts"),
    "an escape": ({"captions": ["\x1b[31mred"]}, r"vocabulary\.captions must be texts .* got '\\x1b"),
    "a break": ({"captions": ["red\napple"]}, r"vocabulary\.captions must be texts"),
    "a mark of direction": ({"captions": ["\u202ered"]}, r"vocabulary\.captions must be texts"),
    "a surrogate": ({"captions": ["\ud800"]}, r"vocabulary\.captions must be texts"),
    "a long text": ({"counts": ["x" * (MAX_TEXT + 1)]}, r"vocabulary\.counts must be texts"),
    "a list of synonyms": ({"synonyms": ["car"]}, r"vocabulary\.synonyms must be a JSON object"),
    "a synonym of nothing": ({"concepts": ["cat"], "synonyms": {"car": "bus"}}, r"synonyms\['car'\] must be one of"),
    "a synonym of no text": ({"concepts": ["cat"], "synonyms": {"car": []}}, r"synonyms\['car'\] must be one of"),
    "an empty synonym": ({"concepts": ["cat"], "synonyms": {"": "cat"}}, r"vocabulary\.synonyms must be texts"),
    "too many": ({"words": ["a"] * (MAX_TEXTS + 1)}, f"at most {MAX_TEXTS} texts; got {MAX_TEXTS + 1}"),
    "too much": ({"words": ["ä" * MAX_TEXT] * 2000}, f"at most {MAX_BYTES} bytes; got 400000"),
    "too many examples": ({"captions": ["a"] * (MAX_CAPTIONS + 1)}, rf"captions must be at most {MAX_CAPTIONS} texts"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_no_vocabulary_is_refused_in_one_short_line(name: str) -> None:
    value, told = MALFORMED[name]
    with pytest.raises(CheckpointError, match=told) as refused:
        Vocabulary.from_json(value)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 300


def test_only_what_is_wanted_is_left_and_a_concept_is_also_found_by_its_synonym() -> None:
    dogs = TAUGHT.only(lambda text: "puppy" in text)
    assert (dogs.concepts, dogs.synonyms) == (("dog face",), {"puppy": "dog face"})
    red = TAUGHT.only(lambda text: "red" in text)
    assert (red.concepts, red.colours, red.styles, red.captions) == (("red apple",), ("red",), (), TAUGHT.captions)


@pytest.mark.parametrize(
    "caption",
    [
        "",
        *TAUGHT.captions,
        "A Red APPLE, with the dog!",
        "three mice and two wolves",
        "flies with yo-yos",
        "a cherry beside the dog’s glasses; its glass",
        "a puppy without spectacles",
        "teacups for men's shoes",
        "a photo of a t-rex",
    ],
)
def test_words_that_were_taught_are_known_in_other_forms_and_so_are_those_without_a_picture(caption: str) -> None:
    assert KNOWN.unknown(caption) == {}


@pytest.mark.parametrize(
    ("caption", "unknown"),
    [
        ("a red appel", {"appel": "apple"}),
        ("a gray tractor", {"gray": "grey", "tractor": ""}),
        ("Tractors, tractors and a TRACTOR", {"Tractors": "", "TRACTOR": ""}),
        ("glases, teecup and teacupp", {"glases": "glasses", "teecup": "teacup", "teacupp": "teacup"}),
        ("a happle", {"happle": ""}),  # another first letter is another word
        ("cat", {"cat": ""}),
        ("toes hiss", {"toes": "", "hiss": ""}),  # which are neither "to" nor "his"
        ("4 wolves", {"4": ""}),
        ("🐈 on a dog ❤", {"🐈": "", "❤": ""}),
        ("собака и волк", {"собака": "", "и": "", "волк": ""}),
        ("हिन्दी", {"हिन्दी": ""}),
        ("dog-house/kennel", {"house": "", "kennel": ""}),
    ],
)
def test_other_words_are_not_and_a_slip_says_what_may_be_meant(caption: str, unknown: dict[str, str]) -> None:
    assert KNOWN.unknown(caption) == unknown


@given(st.text(max_size=300))
def test_whatever_is_written_its_words_are_found_in_it_and_once(caption: str) -> None:
    found = KNOWN.unknown(caption)
    assert all(word in caption for word in found)
    assert KNOWN.unknown(" ".join(found)).keys() == found.keys()


def test_a_notice_shows_a_few_of_many_words_and_has_all() -> None:
    words = {f"w{index}" + "x" * 50: "" for index in range(9)}
    notice = words_unknown("caption", {"appel": "apple", **words})
    assert notice.parts == ("appel", *words)
    assert notice.message.startswith('the model was never taught "appel" (is "apple" meant?), "w0xxx')
    assert notice.message.endswith("and 5 more: what it draws for that is a guess")
    assert len(notice.message) < 300
    assert words_unknown("caption", {"ox": ""}).message == (
        'the model was never taught "ox": what it draws for that is a guess'
    )


def taught(source: Path, folder: Path, vocabulary: Any) -> Path:
    """A copy of the checkpoint with a vocabulary."""
    made = shutil.copytree(source, folder)
    manifest = json.loads((made / "unclip.json").read_text())
    (made / "unclip.json").write_text(json.dumps({**manifest, "vocabulary": vocabulary}))
    return made


def test_a_vocabulary_is_part_of_the_checkpoint_and_of_no_version_for_it_makes_no_other_picture(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    silent = Checkpoint.open(tiny_checkpoint)
    told = Checkpoint.open(taught(tiny_checkpoint, tmp_path / "told", TAUGHT.to_json()))
    assert silent.vocabulary is None
    assert told.vocabulary == TAUGHT
    assert told.digest != silent.digest
    assert told.version(EVERY_FOLDER) == silent.version(EVERY_FOLDER)


def test_it_is_written_and_converted_with_the_rest(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path / "copy"))
    defaults = json.loads((folder / "unclip.json").read_text())["defaults"]
    write_manifest(folder, name="told", license="CC0-1.0", defaults=defaults, vocabulary=TAUGHT.to_json())
    assert Checkpoint.open(folder).vocabulary == TAUGHT
    assert Checkpoint.open(convert(str(folder), tmp_path / "made")).vocabulary == TAUGHT


@pytest.mark.parametrize(
    "load",
    [lambda checkpoint: Encoder(checkpoint, torch.device("cpu")), lambda checkpoint: Tokenizer(checkpoint, CONTEXT)],
    ids=["encoder", "tokenizer"],
)
def test_an_encoder_does_not_start_with_one_that_is_none(
    tiny_checkpoint: Path, tmp_path: Path, load: Callable[[Checkpoint], object]
) -> None:
    folder = taught(tiny_checkpoint, tmp_path / "broken", {"concepts": [7]})
    with pytest.raises(CheckpointError, match=r"vocabulary\.concepts must be texts"):
        load(Checkpoint.open(folder))


def test_nor_does_the_doctor_find_it_well(tiny_checkpoint: Path, tmp_path: Path) -> None:
    found = weights(taught(tiny_checkpoint, tmp_path / "broken", {"concepts": [7]}))
    assert found.state == "fail"
    assert "vocabulary.concepts must be texts" in found.found


def test_of_a_caption_that_is_cut_only_the_words_that_are_read_are_looked_up(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    folder = taught(tiny_checkpoint, tmp_path / "told", TAUGHT.to_json())
    [tokens, silent] = [
        Tokenizer(Checkpoint.open(each), CONTEXT)(["red ox " + "red " * 20 + "cat"])[0]
        for each in (folder, tiny_checkpoint)
    ]
    assert tokens.left_out.endswith("cat")
    assert tokens.unknown == {"ox": ""}
    assert silent.unknown == {}
    [through] = Tokenizer(Checkpoint.open(folder), CONTEXT)(["red " * 12 + "ox glasses"])
    assert through.left_out == "glasses"
    [through] = Tokenizer(Checkpoint.open(folder), CONTEXT)(["red " * 11 + "ox glasses"])
    assert through.left_out == "lasses"  # of a word that the cut goes through nothing is to be said
    assert through.unknown == {"ox": ""}

"""A caption is read as people read it: what does not show counts for nothing, and no word of it is an order."""

from __future__ import annotations

import json
import shutil
import time
import unicodedata
from pathlib import Path
from typing import Any

import ftfy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import CLIPTokenizer

from encoder_svc.cleaning import CLEANINGS, cleaning_of, ftfy_1, repaired
from encoder_svc.tokenizer import Tokenizer
from tests.tiny import CONTEXT, make_tiny_checkpoint
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.checkpoints.components import TEXT_FOLDERS
from unclip.errors import CheckpointError
from unclip.local.stack import find_checkpoint
from unclip.wire.captions import INVISIBLE, blank, one_line

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
CLEANED = {
    "two\u200bfold": "twofold",
    "a red \u202eapple\u202c": "a red apple",
    "\ufeffa red apple": "a red apple",
    "soft\u00adhyphen": "softhyphen",
    "❤️": "❤",
    "the dog’s “ball”": 'the dog\'s "ball"',
    "salt &amp; pepper": "salt & pepper",
    "&lt;3 &amp;hearts;": "<3 ♥",
    "&quot;stop&quot;&nbsp;sign": '"stop" sign',
    "ﬁre": "fire",
    "ｒｅｄ": "red",
    "cafÃ©": "café",
    "cafe\u0301": "café",
    "cafe\u200b\u0301": "café",
    "a&#10;b": "a b",
    "&nbsp;": "",
    "AT&T, 1 < 2 & 3 > 2": "AT&T, 1 < 2 & 3 > 2",
    "1 < 2 &amp; 3 > 2": "1 < 2 & 3 > 2",
    "日本の「家」": "日本の「家」",
}


@pytest.mark.parametrize(
    "caption",
    [
        "",
        " ",
        "\t\r\n",
        "\u00a0",
        "\u3000\u2003",
        "\u200b\u2060",
        "\ufeff \u00ad",
        "\u2800",
        "&nbsp; ",
        "&#8203;",
        "&ZeroWidthSpace;",
    ],
)
def test_a_caption_of_which_nothing_shows_is_blank(caption: str) -> None:
    assert blank(caption)
    assert one_line(caption) == ""


@pytest.mark.parametrize("caption", [".", "\u200ba", "!", "\u0301", "\0", "&", "&amp;", "&nbsp;a"])
def test_one_of_which_anything_shows_is_not(caption: str) -> None:
    assert not blank(caption)


@pytest.mark.parametrize("mark", ["\n", "\r\n", "\r", "\t", "\v", "\f", "\x85", "\u2028", "\u2029"])
def test_breaks_and_tabs_are_spaces(mark: str) -> None:
    assert one_line(f"a red{mark}apple") == "a red apple"


@given(TEXTS)
def test_a_caption_on_one_line_is_left_alone(caption: str) -> None:
    line = one_line(caption)
    assert one_line(line) == line
    assert line in ("", caption) or not caption.isprintable()


@pytest.mark.parametrize(("caption", "cleaned"), CLEANED.items())
def test_ftfy_1_cleans_captions_as_it_did_when_checkpoints_were_taught_with_it(caption: str, cleaned: str) -> None:
    assert ftfy_1(caption) == cleaned


ENTITIES = st.sampled_from(["&amp;", "&#38;", "&lt;", "&eacute;", "&nbsp;", "&#10;", "Ã©", "â€œ", "\x1b[31m", "ﬁ", "<"])


@given(st.lists(ENTITIES | TEXTS, max_size=6).map("".join))
def test_ftfy_1_repairs_as_ftfy_does(caption: str) -> None:
    line = one_line(caption)
    assert repaired(line) == ftfy.fix_text(line, ftfy.TextFixerConfig(unescape_html=True, normalization="NFC"))


@pytest.mark.parametrize("entity", ["amp;", "#38;", "ａｍｐ；"])
def test_a_caption_that_was_escaped_a_thousand_times_takes_no_longer_than_others(entity: str) -> None:
    deep = f"&{entity * (4000 // len(entity.encode()))}"
    began = time.process_time()
    for _ in range(64):  # of one Embed: 2 s with ftfy's own rounds
        ftfy_1(deep)
    assert time.process_time() - began < 1


@given(TEXTS)
def test_whatever_it_was_what_is_clean_is_one_line_that_shows_and_in_nfc(caption: str) -> None:
    cleaned = ftfy_1(caption)
    assert cleaned == " ".join(cleaned.split())
    assert not INVISIBLE.search(cleaned)
    assert unicodedata.is_normalized("NFC", cleaned)


@pytest.fixture(scope="module")
def embedded() -> Path:
    return find_checkpoint()


def test_the_embedded_checkpoint_names_a_cleaning_and_karlo_none(embedded: Path, tmp_path: Path) -> None:
    assert Checkpoint.open(embedded).cleaning == "ftfy-1"
    karlo = Checkpoint.open(make_tiny_checkpoint(tmp_path / "karlo", manifest=False))
    assert karlo.cleaning == ""
    assert cleaning_of("")("“a&amp;b”\u200b") == "“a&amp;b”\u200b"


def test_a_cleaning_that_is_not_known_is_refused_by_its_name(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = named(tiny_checkpoint, tmp_path, "ftfy-99")
    with pytest.raises(CheckpointError, match=r"cleaning must be one of ftfy-1, or unset; got 'ftfy-99'"):
        Tokenizer(Checkpoint.open(folder), CONTEXT)


def test_a_cleaning_is_part_of_the_version_of_what_reads_captions_and_of_nothing_else(
    tiny_checkpoint: Path, tmp_path: Path
) -> None:
    plain, cleaned = Checkpoint.open(tiny_checkpoint), Checkpoint.open(named(tiny_checkpoint, tmp_path, "ftfy-1"))
    assert plain.version(TEXT_FOLDERS) != cleaned.version(TEXT_FOLDERS)
    assert plain.version(["prior"]) == cleaned.version(["prior"])


@pytest.mark.parametrize(
    "caption", ["a red cat!", "two dogs", "", "x" * 40, "“a” &amp; b", "!", "a !red! cat", "ein Hüt"]
)
def test_without_a_cleaning_tokens_are_those_of_the_tokenizer_alone(tiny_checkpoint: Path, caption: str) -> None:
    [ours] = Tokenizer(Checkpoint.open(tiny_checkpoint), CONTEXT)([caption])
    alone: Any = CLIPTokenizer.from_pretrained(tiny_checkpoint / "tokenizer")
    theirs = alone([caption], padding="max_length", truncation=True, max_length=CONTEXT, return_tensors="pt")
    assert torch.equal(ours.ids, theirs.input_ids[0])
    assert torch.equal(ours.mask, theirs.attention_mask[0].bool())


@pytest.mark.parametrize("special", ["<|endoftext|>", "<|startoftext|>"])
def test_special_tokens_in_a_caption_are_text(tiny_checkpoint: Path, special: str) -> None:
    tokenizer = Tokenizer(Checkpoint.open(tiny_checkpoint), 64)
    [said, without, spelled] = tokenizer([f"red {special} cat", "red cat", f"red {special.upper()} cat"])
    assert said.count > without.count
    assert torch.equal(said.ids, spelled.ids)  # the tokenizer takes no capitals for special
    marks = [tokenizer([""])[0].ids[0], tokenizer([""])[0].ids[1]]
    assert [int((said.ids == mark).sum()) for mark in marks] == [1, 1]


def test_a_special_token_that_cleaning_brings_to_light_is_text_too(embedded: Path) -> None:
    [escaped, spelled] = Tokenizer(Checkpoint.open(embedded), 24)(["a &lt;|endoftext|&gt; b", "a <|endoftext|> b"])
    assert torch.equal(escaped.ids, spelled.ids)
    assert escaped.count > 4


def test_an_exclamation_mark_is_no_padding_in_the_embedded_checkpoint_and_is_in_karlos(
    embedded: Path, tiny_checkpoint: Path
) -> None:
    for folder, context, pads in ((embedded, 24, False), (tiny_checkpoint, CONTEXT, True)):
        [tokens] = Tokenizer(Checkpoint.open(folder), context)(["a red cat!"])
        padding = tokens.ids[-1]
        assert (tokens.ids[tokens.count - 2] == padding) == pads


def test_what_is_beyond_the_context_is_told_as_it_was_written(tiny_checkpoint: Path) -> None:
    tokenizer = Tokenizer(Checkpoint.open(tiny_checkpoint), CONTEXT)  # 14 tokens and two ends
    fits, cut = tokenizer(["red " * 14, "red " * 13 + "Dog Cat, RED"])
    assert (fits.count, fits.left_out) == (16, "")
    assert (cut.count, cut.left_out) == (19, "Cat, RED")
    assert torch.equal(cut.ids[-1], fits.ids[-1])
    assert cut.mask.all()


def test_every_cleaning_has_a_name_of_its_own_kind() -> None:
    assert set(CLEANINGS) == {"", "ftfy-1"}  # one that a checkpoint may name is never taken away


def named(source: Path, folder: Path, cleaning: str) -> Path:
    """A copy of the checkpoint that names a cleaning."""
    made = shutil.copytree(source, folder / "named")
    manifest = json.loads((made / "unclip.json").read_text())
    (made / "unclip.json").write_text(json.dumps({**manifest, "cleaning": cleaning}))
    return made

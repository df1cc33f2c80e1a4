"""The learned tokenizer: CLIP's conventions, and no text that it cannot write."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training import tokenizer
from training.captions import plain_caption
from training.concepts import CONCEPTS

CONTEXT = 24
CAPTIONS = [plain_caption(label, style) for label in CONCEPTS.read_text().splitlines() for style in ("flat", "3d")]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tokenizer.train(CAPTIONS, 1024, CONTEXT, tmp_path_factory.mktemp("tokenizer"))


def test_the_same_captions_give_the_same_tokens(words: Any, tmp_path: Path) -> None:
    for turn in range(3):
        again = tokenizer.train(CAPTIONS, 1024, CONTEXT, tmp_path / str(turn))
        assert again.get_vocab() == words.get_vocab()
        assert [again(caption).input_ids for caption in CAPTIONS] == [words(caption).input_ids for caption in CAPTIONS]


def test_a_tokenizer_that_was_learned_is_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learned = tokenizer.train(CAPTIONS, 1024, CONTEXT, tmp_path / "words")
    monkeypatch.setattr(tokenizer, "trainers", None)  # nothing is learned
    again = tokenizer.train(CAPTIONS, 1024, CONTEXT, tmp_path / "words")
    assert again.get_vocab() == learned.get_vocab()
    assert again("a red apple <|endoftext|>").input_ids == learned("a red apple <|endoftext|>").input_ids


def test_a_tokenizer_of_another_run_is_refused_and_so_is_one_of_which_nothing_tells(tmp_path: Path) -> None:
    folder = tmp_path / "words"
    tokenizer.train(CAPTIONS, 1024, CONTEXT, folder)
    for other in ((CAPTIONS[1:], 1024, CONTEXT), (CAPTIONS, 1023, CONTEXT), (CAPTIONS, 1024, CONTEXT + 1)):
        with pytest.raises(RuntimeError, match=r"words is of another run: .* move it away to begin anew"):
            tokenizer.train(*other, folder)
    (tmp_path / "words.json").unlink()
    with pytest.raises(RuntimeError, match="words is of another run"):
        tokenizer.train(CAPTIONS, 1024, CONTEXT, folder)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("harm", ["changed", "gone"])
def test_a_damaged_tokenizer_is_named_and_learned_anew_once_it_is_away(name: str, harm: str, tmp_path: Path) -> None:
    folder = tmp_path / "words"
    learned = tokenizer.train(CAPTIONS, 1024, CONTEXT, folder)
    whole = (folder / name).read_text()
    (folder / name).unlink()
    if harm == "changed":
        (folder / name).write_text(whole.replace("apple", "bpple", 1) + " ")
    with pytest.raises(RuntimeError, match="words is damaged; without it it is learned anew"):
        tokenizer.train(CAPTIONS, 1024, CONTEXT, folder)
    shutil.rmtree(folder)
    assert tokenizer.train(CAPTIONS, 1024, CONTEXT, folder).get_vocab() == learned.get_vocab()


@pytest.mark.parametrize("told", ["", "{", "\udcff"])
def test_a_damaged_record_of_a_tokenizer_is_named(told: str, tmp_path: Path) -> None:
    tokenizer.train(CAPTIONS, 1024, CONTEXT, tmp_path / "words")
    (tmp_path / "words.json").write_text(told, errors="surrogateescape")
    with pytest.raises(RuntimeError, match=r"words\.json is damaged"):
        tokenizer.train(CAPTIONS, 1024, CONTEXT, tmp_path / "words")


def test_a_digest_is_of_what_a_tokenizer_makes_of_texts(words: Any, tmp_path: Path) -> None:
    again = tokenizer.train(CAPTIONS, 1024, CONTEXT, tmp_path / "again")
    again("a red apple", padding="max_length", truncation=True, max_length=7)
    other = tokenizer.train([caption.replace("a", "b") for caption in CAPTIONS], 1024, CONTEXT, tmp_path / "other")
    assert tokenizer.digest_of(again) == tokenizer.digest_of(words) != tokenizer.digest_of(other)


def spaceless(text: str) -> str:
    """Decoding may set punctuation apart."""
    return text.replace(" ", "").lower()


def test_every_caption_comes_back_as_it_went_in(words: Any) -> None:
    for caption in CAPTIONS:
        ids = words(caption).input_ids
        assert spaceless(words.decode(ids, skip_special_tokens=True)) == spaceless(caption)


def test_captions_fit_the_context_and_frequent_words_are_single_tokens(words: Any) -> None:
    assert max(len(words(caption).input_ids) for caption in CAPTIONS) <= CONTEXT
    assert len(words("a flat emoji of a red apple").input_ids) == 7 + 2


def test_ids_follow_clip_and_karlo(words: Any) -> None:
    assert len(words) <= 1024 + 256
    assert (words.pad_token, words.pad_token_id) == ("!", 0)
    assert (words.bos_token_id, words.eos_token_id) == (len(words) - 2, len(words) - 1)
    assert words.model_max_length == CONTEXT


def test_the_end_token_is_not_the_id_that_transformers_pools_differently_for(words: Any) -> None:
    assert words.eos_token_id != 2


def test_a_caption_is_start_words_end_and_padding_that_the_mask_leaves_out(words: Any) -> None:
    batch = words("a flat emoji", padding="max_length", truncation=True, max_length=CONTEXT)

    seen = sum(batch.attention_mask)
    assert batch.attention_mask == [1] * seen + [0] * (CONTEXT - seen)
    assert batch.input_ids[0] == words.bos_token_id
    assert batch.input_ids[seen - 1] == words.eos_token_id
    assert set(batch.input_ids[seen:]) == {words.pad_token_id}


@given(st.text())
def test_no_text_whatever_is_pooled_before_its_end(words: Any, text: str) -> None:
    ids = words(text, truncation=True, max_length=CONTEXT).input_ids

    assert ids.index(words.eos_token_id) == len(ids) - 1


@pytest.mark.parametrize("text", ["a red apple!", f"a {tokenizer.END} b", f"{tokenizer.START}", "!", "wow!!! a cat !"])
def test_what_a_caption_says_is_never_a_special_token(words: Any, text: str) -> None:
    ids = words(text).input_ids

    assert spaceless(words.decode(ids[1:-1])) == spaceless(text)
    assert not {words.bos_token_id, words.eos_token_id} & set(ids[1:-1])
    assert ids[-2] != words.pad_token_id


def test_letters_it_never_saw_are_written_in_bytes(words: Any) -> None:
    text = "çà et là, 日本"

    assert spaceless(words.decode(words(text).input_ids, skip_special_tokens=True)) == spaceless(text)

"""A CLIP tokenizer (byte-pair encoding over lower-cased words) learned from the captions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from unclip.checkpoints.manifest import digest

START, END, PAD = "<|startoftext|>", "<|endoftext|>", "!"


def train(captions: Iterable[str], vocabulary: int, context: int, folder: Path) -> CLIPTokenizer:
    """Learns a vocabulary and saves a CLIPTokenizer into ``folder``, or loads the one that lies there. What that was
    learned from is told by ``<folder>.json`` beside it: the folder itself is exported.

    It has at most ``vocabulary`` tokens, every byte inside a word being one, and every byte that ends a word as 256
    more, so that there is no text it cannot write. The same captions give the same tokens: networks that learned by
    one numbering can be read by no other.
    Padding is "!", id 0, as in Karlo; the end token comes last, as in CLIP, whose pooling looks for it. What a caption
    says is never one of these: its "!" is a sign like others.

    Raises:
        RuntimeError: the one that lies there is damaged, or was learned from something else.
    """
    captions = list(captions)
    origin = hashlib.sha256(json.dumps([captions, vocabulary, context]).encode()).hexdigest()
    if is_kept(folder, origin):
        return CLIPTokenizer.from_pretrained(folder)
    bpe = Tokenizer(models.BPE(unk_token=END, end_of_word_suffix="</w>"))
    bpe.normalizer = normalizers.Lowercase()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Punctuation(),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    # The trainer numbers ends of words as it meets them, in an order that changes, unless they are there before; among
    # equally frequent pairs it takes the one with the lower numbers.
    ends = [byte + "</w>" for byte in alphabet]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - 2 + len(ends),
        special_tokens=[PAD, *ends],
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    bpe.train_from_iterator(captions, trainer)
    learned = json.loads(bpe.to_str())["model"]
    tokens = sorted(learned["vocab"], key=learned["vocab"].__getitem__)
    vocab = {token: index for index, token in enumerate([*tokens, START, END])}
    merges = [tuple(merge) for merge in learned["merges"]]
    tokenizer = CLIPTokenizer(
        vocab=vocab, merges=merges, pad_token=PAD, model_max_length=context, split_special_tokens=True
    )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".tokenizer-", dir=folder.parent) as aside:
        tokenizer.save_pretrained(whole := Path(aside) / "whole")
        record(whole, origin, record_of(folder))  # first: what is cut short between the two is learned again
        whole.replace(folder)
    return CLIPTokenizer.from_pretrained(folder)


def is_kept(folder: Path, origin: str) -> bool:
    """Whether the tokenizer that was learned from ``origin`` lies in the folder; nothing does in an empty one.

    Raises:
        RuntimeError: it is damaged, or was learned from something else, or nothing says from what.
    """
    if not folder.is_dir() or not any(folder.iterdir()):
        return False
    try:
        told = json.loads(record_of(folder).read_text())
    except FileNotFoundError:
        told = None
    except (OSError, ValueError) as error:
        raise RuntimeError(f"{record_of(folder)} is damaged; without it and {folder} that is learned anew") from error
    if not isinstance(told, dict) or told.get("origin") != origin:
        raise RuntimeError(
            f"{folder} is of another run: of other captions, vocabulary size or context; move it away to begin anew"
        )
    if told.get("files") != files_in(folder):
        raise RuntimeError(f"{folder} is damaged; without it it is learned anew")
    return True


def record_of(folder: Path) -> Path:
    """The file beside a tokenizer's folder that tells what it was learned from."""
    return folder.with_name(f"{folder.name}.json")


def record(folder: Path, origin: str, file: Path) -> None:
    """Writes into ``file`` what the tokenizer in the folder was learned from, and the digests of its files."""
    file.write_text(json.dumps({"origin": origin, "files": files_in(folder)}) + "\n")


def files_in(folder: Path) -> dict[str, str]:
    """sha256 of each file, in hex, by its name."""
    return {path.name: digest(path) for path in sorted(folder.iterdir()) if path.is_file()}


def digest_of(words: CLIPTokenizer) -> str:
    """Digest of what a tokenizer makes of texts: what learned by one cannot be read by another."""
    model = json.loads(words.backend_tokenizer.to_str())["model"]
    return hashlib.sha256(json.dumps([model["vocab"], model["merges"]]).encode()).hexdigest()

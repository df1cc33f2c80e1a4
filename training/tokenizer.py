"""A CLIP tokenizer (byte-pair encoding over lower-cased words) learned from the captions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

START, END, PAD = "<|startoftext|>", "<|endoftext|>", "!"


def train(captions: Iterable[str], vocabulary: int, context: int, folder: Path) -> CLIPTokenizer:
    """Learns a vocabulary and saves a CLIPTokenizer into ``folder``, or loads the one that lies there.

    It has at most ``vocabulary`` tokens, every byte inside a word being one, and every byte that ends a word as 256
    more, so that there is no text it cannot write. The same captions give the same tokens: networks that learned by
    one numbering can be read by no other.
    Padding is "!", id 0, as in Karlo; the end token comes last, as in CLIP, whose pooling looks for it. What a caption
    says is never one of these: its "!" is a sign like others.
    """
    if (folder / "tokenizer_config.json").exists() and (folder / "tokenizer.json").exists():
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
        whole.replace(folder)
    return CLIPTokenizer.from_pretrained(folder)


def digest_of(words: CLIPTokenizer) -> str:
    """Digest of what a tokenizer makes of texts: what learned by one cannot be read by another."""
    model = json.loads(words.backend_tokenizer.to_str())["model"]
    return hashlib.sha256(json.dumps([model["vocab"], model["merges"]]).encode()).hexdigest()

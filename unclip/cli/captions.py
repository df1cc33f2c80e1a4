"""``unclip info --captions``: what can be asked for, all of it or what has some words."""

from __future__ import annotations

import argparse
import sys
import textwrap

from unclip.checkpoints.words import KnownWords, has_word, words_of
from unclip.cli import report
from unclip.cli.connection import connect
from unclip.cli.exits import FAILED
from unclip.cli.terminal import line
from unclip.client import ModelInfo, Vocabulary
from unclip.errors import PreconditionFailed

WIDTH, LABEL = 110, 13  # characters of a line, and of what stands before it
LISTED = ("concepts", "styles", "colours", "backgrounds", "counts", "words")


def show(options: argparse.Namespace) -> int:
    """Prints it; 1 where nothing has the words, as grep does."""
    with connect(options) as client:
        model = client.model_info(vocabulary=True)
    if model.vocabulary is None:
        raise PreconditionFailed("captions", f"{model.name} does not say what it was taught")
    asked = [word for text in options.captions for word in words_of(text)]
    found = model.vocabulary.only(lambda text: all(has_word(text, word) for word in asked))
    if options.json:
        report.print_json({"name": model.name, **report.plain(found)})
    else:
        print_found(found, brief=not asked)
    if any(found.to_json()):
        return 0
    tell_nothing(model.vocabulary, asked, model)
    return FAILED


def print_found(found: Vocabulary, brief: bool) -> None:
    """A paragraph for each kind of text. brief: without words that only stand beside others."""
    for caption in found.captions:
        line(f"{'examples' if caption is found.captions[0] else '':<{LABEL}}{caption}")
    others = dict[str, list[str]]()
    for name, concept in found.synonyms.items():
        others.setdefault(concept, []).append(name)
    for kind in LISTED:
        texts = getattr(found, kind)
        if kind == "concepts":
            texts = [f"{text} (or {', '.join(others[text])})" if text in others else text for text in texts]
        if texts and not (brief and kind == "words"):
            lines = textwrap.wrap("; ".join(texts), WIDTH - LABEL, break_long_words=False, break_on_hyphens=False)
            for index, part in enumerate(lines):
                line(f"{'' if index else kind:<{LABEL}}{part}")


def tell_nothing(vocabulary: Vocabulary, asked: list[str], model: ModelInfo) -> None:
    """Says that nothing was found, and what may be meant."""
    meant = [word for word in KnownWords(vocabulary).unknown(" ".join(asked)).values() if word]
    advice = f"; is {', '.join(meant)} meant?" if meant else ""
    line(f"{model.name} was taught nothing that is called {' '.join(asked)}{advice}", sys.stderr)

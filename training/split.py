"""What is held out from every stage: pictures, things in a colour, things in a number. The choice is committed."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from training.captions import COUNTS, countable, hue_of, in_colour, plural, without_colour
from training.colours import COLOURS
from training.pictures import Pair

COMMITTED = Path(__file__).with_name("held_out.json")
COMBINED = 100  # things held out in one colour, and as many in one number


@dataclass(frozen=True)
class Split:
    """Keys of pairs ("flat/pear"), and what may not be said of any drawing ("blue pear", "two pears")."""

    pairs: frozenset[str] = frozenset()
    colours: frozenset[str] = frozenset()
    counts: frozenset[str] = frozenset()

    def to_json(self) -> dict[str, list[str]]:
        """By kind, each in order."""
        return {kind: sorted(keys) for kind, keys in vars(self).items()}


def committed(name: str, file: Path = COMMITTED) -> Split | None:
    """A preset's split, or None where none is committed."""
    known: dict[str, dict[str, list[str]]] = json.loads(file.read_text()) if file.exists() else {}
    if name not in known:
        return None
    return Split(**{kind: frozenset(keys) for kind, keys in known[name].items()})


def split(items: Sequence[Pair], share: float = 0.1, combined: int = 0, seed: int = 0) -> Split:
    """``share`` of the pairs, never a concept's only picture nor two of its styles; ``combined`` colours and counts."""
    colours, counts = combinations(items, combined, seed) if combined else (frozenset[str](), frozenset[str]())
    return Split(frozenset(pairs_of(items, share, seed)), colours, counts)


def pairs_of(items: Sequence[Pair], share: float, seed: int) -> list[str]:
    """The keys of the pairs to hold out."""
    order = sorted(items, key=lambda pair: pair.key)
    Random(seed).shuffle(order)
    count = Counter(pair.label for pair in items)
    taken: dict[str, str] = {}
    for pair in order:
        if len(taken) < share * len(items) and count[pair.label] > 1 and pair.label not in taken:
            taken[pair.label] = pair.key
    return sorted(taken.values())


def combinations(items: Sequence[Pair], number: int, seed: int) -> tuple[frozenset[str], frozenset[str]]:
    """(things in a colour that no drawing of them has by itself, things in a number), each of another concept."""
    labels = sorted({pair.label for pair in items})
    own = {(without_colour(pair.label), hue_of(pair)) for pair in items}
    has_main = {label for label, hue in own if hue is not None}
    random = Random(seed + 1)
    colours = {
        in_colour(label, random.choice(free))
        for label in sample(sorted(has_main & set(labels)), number, random)
        if (free := [c for c in COLOURS if in_colour(label, c) not in labels and (label, c) not in own])
    }
    things = sample(sorted({pair.label for pair in items if countable(pair)}), number, random)
    return frozenset(colours), frozenset(f"{random.choice(sorted(COUNTS))} {plural(label)}" for label in things)


def sample(labels: Iterable[str], number: int, random: Random) -> list[str]:
    """At most ``number`` of the labels."""
    choice = list(labels)
    return random.sample(choice, min(number, len(choice)))


def write(name: str, made: Split, file: Path = COMMITTED) -> None:
    """Commits a split under a preset's name; the others stay."""
    known: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    known[name] = made.to_json()
    file.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n")


def main() -> None:
    """Command line: a new split for a preset. Weights taught under the former one can then no longer be judged."""
    from training.presets import PRESETS

    parser = argparse.ArgumentParser(description=main.__doc__)
    own = sorted(name for name, preset in PRESETS.items() if preset.pictures == name)
    parser.add_argument("--preset", choices=own, required=True)
    parser.add_argument("--share", type=float, default=0.03, help="of the pairs (%(default)s)")
    options = parser.parse_args()
    if not 0 < options.share < 1:
        parser.error(f"--share must be between 0 and 1; got {options.share:g}")
    items = PRESETS[options.preset].everything(options.preset)
    write(options.preset, split(items, options.share, COMBINED))


if __name__ == "__main__":
    main()

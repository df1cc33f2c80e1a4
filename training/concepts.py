"""Which emoji CLIP learns, what can be told apart and drawn in at least three coloured styles, and which are drawn.

Left out by rule, and why:

- clocks by the hour, moon phases, globes, letter boxes and loudspeakers of every state: they differ in a few pixels;
- signs, arrows, letters, key caps, buttons, currencies, the zodiac: writing, which 32 px do not hold;
- "man ..." and "woman ..." beside the same person without either, people facing right, families and couples,
  people told apart by hair: near-identical drawings;
- vehicles seen from the front beside the same vehicle, and a few more pairs that are one drawing with another name;
- flags and skin tones, as in every preset.

Of what is left CLIP, which learns it quickly, is taught all. The decoder learns those in ``drawn.txt``, chosen by hand:
so small a network has hours for some hundreds, and draws these the better. Left out are most faces, hands and people
(one figure in another posture or garment), an animal beside its face, and landscapes, buildings, dishes and tools that
are told apart by small parts alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from training.pictures import GROUPS, Artist
from training.sources import load_json, manifest

CONCEPTS, DRAWN = (Path(__file__).with_name(name) for name in ("concepts.txt", "drawn.txt"))
STYLES = ("flat", "noto", "3d", "twitter", "blob", "emojione", "firefox", "glossy")  # those that draw in colour
LEAST_STYLES = 3  # a concept that fewer styles draw is not learned: one of them may be held out
# Emojibase's subgroups that are left out whole.
SUBGROUPS = frozenset(
    {
        "family",
        "alphanum",
        "arrow",
        "av-symbol",
        "currency",
        "gender",
        "keycap",
        "punctuation",
        "transport-sign",
        "warning",
        "zodiac",
        "math",
    }
)
# Labels: people in both variants, a direction, a hair colour; hours; phases; states of one thing.
PATTERNS = re.compile(
    r"(wo)?man (?!in suit)\S+.*|(wo)?men .*|.*: .*|.*facing right|.*[- ]thirty|.* o[’']clock|"
    r".*(waxing|waning|quarter) .*|globe showing .*|.*mailbox with.*|speaker (low|medium) volume|"
    r"oncoming (bus|taxi|police car)|.*(left|right|up)wards .*|(left|right)-facing fist|backhand index .*|"
    r".*medium.* square|.*small square|small .* diamond|white question mark|"
    r".*Japanese (symbol|post).*|.*button|circled M|.* suit",
)
KEPT = frozenset({"woman dancing", "man dancing", "woman with headscarf", "backhand index pointing up", "fire engine"})
# One drawing, or nearly so, under two names.
DOUBLES = frozenset(
    {
        "face with open mouth",
        "frowning face",
        "anguished face",
        "frowning face with open mouth",
        "worried face",
        "slightly smiling face",
        "smiling face",
        "smiling face with smiling eyes",
        "kissing face with smiling eyes",
        "kissing face with closed eyes",
        "grinning face with big eyes",
        "beaming face with smiling eyes",
        "disappointed face",
        "downcast face with sweat",
        "persevering face",
        "head shaking horizontally",
        "head shaking vertically",
        "distorted face",
        "expressionless face",
        "hushed face",
        "weary cat",
        "pouting cat",
        "grinning cat with smiling eyes",
        "love letter",
        "left speech bubble",
        "incoming envelope",
        "envelope with arrow",
        "e-mail",
        "outbox tray",
        "inbox tray",
        "page facing up",
        "page with curl",
        "bookmark tabs",
        "spiral calendar",
        "tear-off calendar",
        "ledger",
        "notebook with decorative cover",
        "card index",
        "file folder",
        "chart increasing with yen",
        "yen banknote",
        "euro banknote",
        "pound banknote",
        "low battery",
        "optical disk",
        "computer disk",
        "mobile phone with arrow",
        "magnifying glass tilted right",
        "camera with flash",
        "locked with pen",
        "unlocked",
        "bell with slash",
        "muted speaker",
        "hourglass not done",
        "mantelpiece clock",
        "timer clock",
        "cityscape at dusk",
        "sunrise",
        "sunset",
        "Japanese post office",
        "hotel",
        "love hotel",
        "office building",
        "department store",
        "convenience store",
        "bank",
        "classical building",
        "house with garden",
        "light rail",
        "station",
        "train",
        "railway car",
        "tram car",
        "mountain railway",
        "monorail",
        "high-speed train",
        "trolleybus",
        "minibus",
        "vertical traffic light",
        "airplane arrival",
        "airplane departure",
        "suspension railway",
        "mountain cableway",
        "motor boat",
        "ferry",
        "clinking beer mugs",
        "softball",
        "rugby football",
        "2nd place medal",
        "3rd place medal",
        "sports medal",
        "admission tickets",
        "heart suit",
        "sun behind large cloud",
        "sun behind small cloud",
        "cloud with lightning and rain",
        "umbrella on ground",
        "snowman without snow",
        "closed umbrella",
        "fog",
        "water buffalo",
        "ox",
        "front-facing baby chick",
        "black bird",
        "two-hump camel",
        "spouting whale",
        "leafless tree",
        "brown mushroom",
        "empty nest",
        "herb",
        "shamrock",
        "hollow red circle",
        "double curly loop",
        "dotted six-pointed star",
        "part alternation mark",
        "radio button",
        "trade mark",
        "registered",
        "copyright",
        "check box with check",
        "diamond with a dot",
        "place of worship",
        "name badge",
        "person pouting",
        "person frowning",
        "person gesturing NO",
        "person gesturing OK",
        "person tipping hand",
        "deaf person",
        "person feeding baby",
        "pregnant person",
        "pregnant man",
        "person with veil",
        "Mx Claus",
        "student",
        "office worker",
        "technologist",
        "supervillain",
        "troll",
        "hairy creature",
        "person standing",
        "person in manual wheelchair",
        "busts in silhouette",
        "raised back of hand",
        "palm up hand",
    }
)


def chosen(entries: Iterable[Mapping[str, Any]], subgroups: Mapping[int, str]) -> set[str]:
    """Labels of the emoji to learn. entries: Emojibase's; subgroups: the keys of its subgroups by their order."""
    return {
        str(entry["label"])
        for entry in entries
        if subgroups.get(entry.get("subgroup", -1)) not in SUBGROUPS and is_distinct(str(entry["label"]))
    }


def is_distinct(label: str) -> bool:
    """Whether a label names something that no other chosen label nearly is."""
    return label in KEPT or not (label in DOUBLES or PATTERNS.fullmatch(label))


def main() -> None:
    """Writes the list from the packages."""
    by_style = {source.style: source for source in manifest()}
    entries = [entry for entry in load_json(by_style[""], "en/data.json") if entry.get("group") in GROUPS]
    subgroups = {group["order"]: group["key"] for group in load_json(by_style[""], "en/messages.json")["subgroups"]}
    labels = chosen(entries, subgroups)
    drawn: Counter[str] = Counter()
    for style in STYLES:
        artist = Artist(by_style[style], 8)
        drawn.update(entry["label"] for entry in entries if entry["label"] in labels and artist(entry) is not None)
    found = sorted(label for label in labels if drawn[label] >= LEAST_STYLES)
    CONCEPTS.write_text("\n".join(found) + "\n")
    print(f"{CONCEPTS.name}: {len(found)} concepts")


if __name__ == "__main__":
    main()

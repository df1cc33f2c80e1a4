"""The README as a program: its commands and Python examples, in order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"
BLOCK = re.compile(
    r"(?:^<!-- not run by the tests: (?P<why>[^\n]+) -->\n)?^```(?P<language>sh|python)\n(?P<text>.*?)^```$",
    re.M | re.S,
)
FILE = re.compile(r"# (\S+\.py)\n")


@dataclass(frozen=True)
class Example:
    """A block of code. line: of the README where it begins. why: it is not run; "" where it is."""

    language: str
    text: str
    line: int
    why: str

    @property
    def file(self) -> str:
        """The file that it is to be written into, by its first line; "" for one that is run as it is."""
        named = FILE.match(self.text) if self.language == "python" else None
        return named[1] if named else ""


def examples(text: str) -> Iterator[Example]:
    """Every example of a README."""
    for found in BLOCK.finditer(text):
        line = text.count("\n", 0, found.start("text")) + 1
        yield Example(found["language"], found["text"], line, found["why"] or "")

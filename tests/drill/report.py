"""What a drill found."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Setting:
    """How a drill is run. short: seconds instead of minutes, as in the test suite. folder: for logs and checkpoints."""

    short: bool
    folder: Path
    checkpoint: Path


@dataclass
class Finding:
    """One drill's result: every claim with what was seen. ok: all claims held."""

    name: str
    claims: list[tuple[str, bool]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def claim(self, figure: str, held: bool) -> None:
        """``figure`` says what was seen, ``held`` whether that is what has to be."""
        self.claims.append((figure, held))

    def told(self, figure: str) -> None:
        """``figure`` is worth knowing, whatever it is."""
        self.notes.append(figure)

    @property
    def ok(self) -> bool:
        """Whether every claim held, and there was one."""
        return bool(self.claims) and all(held for _, held in self.claims)

    @property
    def figure(self) -> str:
        """All that was seen, in a line; what was not as it has to be is marked."""
        claims = [figure if held else f"NOT AS IT MUST BE: {figure}" for figure, held in self.claims]
        return "; ".join([*claims, *self.notes])

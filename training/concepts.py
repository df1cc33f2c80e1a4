"""Which emoji the model learns: ``concepts.txt``, chosen by hand from those that at least three coloured styles draw.

Left out of 1,644, and why:

- clocks by the hour, moon phases, globes, letter boxes and loudspeakers of every state, most faces and hands: they
  differ in a few pixels;
- signs, arrows, letters, key caps, buttons, currencies, the zodiac: writing, which 32 px do not hold;
- most people: one figure in another garment or posture;
- vehicles seen from the front beside the same vehicle, an animal beside its face, and other drawings that are one with
  another name;
- landscapes, buildings, dishes and tools that are told apart by small parts alone;
- flags and skin tones, as in every preset.
"""

from __future__ import annotations

from pathlib import Path

CONCEPTS = Path(__file__).with_name("concepts.txt")
STYLES = ("flat", "noto", "3d", "twitter", "blob", "emojione", "firefox", "glossy")  # those that draw in colour

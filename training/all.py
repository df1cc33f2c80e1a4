"""The whole recipe: pictures, CLIP, prior, decoder, upsampler, judge, export. Finished stages are not trained again."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from training import clip, decoder, judge, networks, prior, student, upsampler
from training.embeddings import Examples
from training.export import export, require_replaceable, vocabulary_in
from training.grow import take_over
from training.loop import OUT_OF_TIME, minutes, parsed
from training.presets import Limits, Preset, require_sound

EXPORTING = 30.0  # seconds kept for what comes after the last step


def run(preset: Preset, out: Path, limits: Limits) -> None:
    """Runs ``preset`` and writes the checkpoint folder ``out`` and the judge's beside it. A run that begins with an
    earlier checkpoint trains no judge: by the same one their figures compare.

    Raises:
        RuntimeError: the checkpoint to begin with cannot be gone on from, or what lies in ``out`` or in the judge's
            folder is not to be replaced. Nothing was trained then.
    """
    out, beside = out.resolve(), judge.beside(out)
    if preset.start is not None and preset.start.resolve() == out:
        raise RuntimeError(f"{out}: a run cannot go on from what it would replace; --out needs another place")
    if preset.start is not None:
        require_start(preset)
    elif out == beside:
        raise RuntimeError(f"{out}: the judge's folder; a checkpoint has another name")
    else:
        judge.require_replaceable(beside, preset)
    require_replaceable(out)
    encoders, words = clip.train(preset, limits)
    data = Examples(preset, encoders, words)
    guesser = prior.train(preset, encoders, words, data, limits)
    enlarger = upsampler.train(preset, limits)
    if preset.start is None:
        judge.save(judge.train(preset, limits), preset, beside)
    # Late, since it takes the longest: what it has learned meanwhile can be looked at beside all else.
    drawer = decoder.train(preset, encoders, words, data, limits)
    pupil = student.train(preset, encoders, words, data, drawer, limits) if preset.student.steps else None
    export(out, preset, encoders, words, guesser, drawer, enlarger, pupil)


def require_start(preset: Preset) -> None:
    """Raises RuntimeError: the checkpoint to begin with is not whole, held out something else, has networks of other
    shapes or weights that are no numbers, or lacks what the export tells of it."""
    assert preset.start is not None
    require_sound(preset)
    if preset.keeps("decoder"):
        vocabulary_in(preset.start)
    decoder.begun(preset)
    clip.begun(preset)
    take_over(networks.prior(preset), preset.start, "prior")
    take_over(networks.upsampler(preset), preset.start, "super_res_first")
    if preset.student.steps:
        student.former_of(preset)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description="Trains everything and exports it.",
        epilog=f"Exit status {OUT_OF_TIME}: the time given was too short; the same command goes on.",
    )
    parser.add_argument("--out", type=Path, default=Path("checkpoints/emoji"))
    parser.add_argument(
        "--command-minutes", type=minutes, help="how long this command may take, whatever is left to do"
    )
    preset, options = parsed(parser)
    until = float("inf")
    if options.command_minutes is not None:
        until = time.monotonic() + 60 * options.command_minutes - EXPORTING
    run(preset, options.out, Limits(until=until))


if __name__ == "__main__":
    main()

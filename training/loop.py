"""The loop every stage trains in: bounded by steps and minutes, resumable, averaged, its curve drawn."""

from __future__ import annotations

import argparse
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import matplotlib
import torch
from PIL import Image
from torch import nn

from training.presets import KEEPABLE, PRESETS, Limits, Preset, Stage
from training.state import alone, origin
from training.state import load as state_of
from training.state import save as save_state
from unclip.checkpoints.checkpoint import Checkpoint
from unclip.errors import CheckpointError

matplotlib.use("Agg")
SAVE_EVERY = 90.0  # seconds
SHEET_EVERY = 240.0
OUT_OF_TIME = 75  # exit status: nothing failed, the same command goes on from here (EX_TEMPFAIL)
UNLIMITED = Limits()
MOST_THREADS = 1024
LONGEST_STEP = 10.0  # seconds that one step can count for: a process that was stopped for a while loses no training


def arguments(what: str) -> tuple[Preset, Limits]:
    """Preset and limits from the command line, the same for every stage."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument(
        "--minutes",
        type=minutes,
        help="end the stage, or each of the decoder's two, after this long, its schedule fitted; those before it are "
        "trained to their end",
    )
    parser.add_argument("--threads", type=threads, help="of the CPU (torch's choice)")
    preset, options = parsed(parser)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    return preset, Limits(options.minutes)


def minutes(text: str) -> float:
    """A time from the command line. Raises argparse.ArgumentTypeError: it is none, or nothing could be done in it."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 < found < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0; got {text}")
    return found


def threads(text: str) -> int:
    """A number of threads from the command line. Raises argparse.ArgumentTypeError: it is none."""
    if not text.isdecimal() or not 1 <= int(text) <= MOST_THREADS:
        raise argparse.ArgumentTypeError(f"must be 1 to {MOST_THREADS}; got {text}")
    return int(text)


def parsed(parser: argparse.ArgumentParser) -> tuple[Preset, argparse.Namespace]:
    """What is trained, and the parser's own options."""
    parser.add_argument("--preset", choices=PRESETS, default="cpu")
    parser.add_argument("--start", type=Path, help="a checkpoint to begin with")
    parser.add_argument("--keep", nargs="*", choices=KEEPABLE, help="what is left as it is there (clip)")
    options = parser.parse_args()
    preset = PRESETS[options.preset]
    if options.start is not None:
        try:
            Checkpoint.open(options.start)
        except CheckpointError as error:
            parser.error(f"--start {options.start}: {error}")
    if options.keep is None:
        return replace(preset, start=options.start), options
    if options.start is None:
        parser.error("--keep needs --start: there is nothing to keep")
    for stage in ("prior", "decoder"):
        if stage in options.keep and "clip" not in options.keep:
            parser.error(f"--keep {stage} needs clip to be kept too: the {stage} speaks of its embeddings")
    return replace(preset, start=options.start, kept=tuple(options.keep)), options


def device() -> torch.device:
    """The first GPU, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def half_precision(where: torch.device) -> bool:
    """Whether bfloat16 products are worth it: on GPUs, and on CPUs that have instructions for them."""
    return where.type == "cuda" or bool(torch.cpu._is_avx512_bf16_supported())


@contextmanager
def asked_to_end() -> Iterator[Callable[[], bool]]:
    """Whether SIGTERM came meanwhile; the loop then saves and leaves, and the next run goes on."""
    came: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: came.append(number))
    try:
        yield lambda: bool(came)
    finally:
        signal.signal(signal.SIGTERM, before)


def fit(
    name: str,
    preset: Preset,
    module: nn.Module,
    loss: Callable[[torch.Generator], torch.Tensor],
    stage: Stage,
    limits: Limits = UNLIMITED,
    sheet: Callable[[], Image.Image] | None = None,
    made_from: Sequence[object] = (),
) -> None:
    """Minimises ``loss`` over ``module``'s parameters; leaves their moving average in the module.

    Warm-up over 100 steps; a cosine to zero over the last part of steps or minutes, whichever end first. The state
    is saved to ``<preset folder>/<name>.pt`` and taken up again from there; a finished stage is loaded and left alone.
    sheet: draws what the averaged weights make, now and then, to ``<preset folder>/<name>-<step>.png``. made_from: what
    it learns from beside the preset's pictures, see `training.state.origin`.

    Raises:
        SystemExit: SIGTERM came or the limit was reached; the state is saved.
        RuntimeError: the state that is there is damaged, of another run, or being trained by one; or the loss or its
            gradient is no number any more, and the state is that of before.
    """
    path, made = preset.folder / f"{name}.pt", origin(preset, *made_from)
    with alone(path):  # before the state is read: another run may be about to write it
        module.train()
        minutes = stage.minutes if limits.minutes is None else limits.minutes
        half = half_precision(device())
        optimizer = torch.optim.AdamW(
            module.parameters(), lr=stage.rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True
        )
        mean = {key: value.clone() for key, value in module.state_dict().items()}
        step, spent, curve = 0, 0.0, list[float]()
        if (state := state_of(path, made)) is not None:
            module.load_state_dict(state["module"])
            optimizer.load_state_dict(state["optimizer"])
            mean = {key: value.to(device()) for key, value in state["mean"].items()}
            step, spent, curve = state["step"], state["spent"], state["curve"]
            if state["done"]:
                module.load_state_dict(mean)
                module.eval()
                return

        def save(done: bool = False) -> None:
            save_state(
                path,
                made,
                {
                    "module": module.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "mean": mean,
                    "step": step,
                    "spent": spent,
                    "curve": curve,
                    "done": done,
                },
            )
            draw(curve, path.with_suffix(".png"), name)

        def show() -> None:
            if sheet is None:
                return
            current = {key: value.clone() for key, value in module.state_dict().items()}
            module.load_state_dict(mean)
            module.eval()
            with torch.no_grad():
                sheet().save(path.with_name(f"{name}-{step:06}.png"))
            module.load_state_dict(current)
            module.train()

        saved = shown = time.monotonic()
        with asked_to_end() as ended:
            while (progress := max(step / stage.steps, spent / 60 / minutes)) < 1:
                began = time.monotonic()
                falling = max(0.0, (progress - 1 + stage.decay) / stage.decay)
                rate = stage.rate * min(1.0, (step + 1) / 100) * 0.5 * (1 + math.cos(falling * math.pi))
                for group in optimizer.param_groups:
                    group["lr"] = rate
                # A generator per step, not one that runs on: a resumed run then draws what an uncut one would have.
                # Layers that leave values out draw from torch's own.
                torch.manual_seed(step)
                with torch.autocast(device().type, torch.bfloat16, enabled=half):
                    value = loss(torch.Generator(device()).manual_seed(step))
                optimizer.zero_grad(set_to_none=True)
                value.backward()  # type: ignore[no-untyped-call]
                norm = nn.utils.clip_grad_norm_(module.parameters(), 1.0)
                step += 1
                curve.append(float(value.detach()))
                for what, number in (("loss", curve[-1]), ("gradient", float(norm))):
                    if not math.isfinite(number):
                        raise RuntimeError(f"{name}: the {what} of step {step} is {number}")
                optimizer.step()
                decay = min(stage.average, step / (step + 10))
                follow(mean, module.state_dict(), 1 - decay)
                now = time.monotonic()
                spent += min(now - began, LONGEST_STEP)
                if step % 50 == 0:
                    recent = sum(curve[-50:]) / 50
                    print(
                        f"{name}: step {step} of {stage.steps}, {progress:.0%}, loss {recent:.4f}, {spent:.0f} s",
                        flush=True,
                    )
                if ended() or now > limits.until:
                    save()
                    raise SystemExit(143 if ended() else OUT_OF_TIME)
                if now - saved > SAVE_EVERY:
                    save()
                    saved = now
                if now - shown > SHEET_EVERY:
                    show()
                    shown = now
        save(done=True)
        show()
        module.load_state_dict(mean)
        module.eval()


@torch.no_grad()
def follow(mean: dict[str, torch.Tensor], current: Mapping[str, torch.Tensor], share: float) -> None:
    """Moves ``mean`` by ``share`` of the way to ``current``; counts are taken over. One launch for all on a GPU."""
    moving = [key for key, value in current.items() if value.is_floating_point()]
    torch._foreach_lerp_([mean[key] for key in moving], [current[key] for key in moving], share)
    for key in current.keys() - set(moving):
        mean[key].copy_(current[key])


def draw(curve: list[float], path: Path, name: str) -> None:
    """The loss curve as a picture, smoothed over 50 steps."""
    from matplotlib import pyplot as plt

    width = min(50, max(1, len(curve) // 10))
    smooth = [sum(curve[i : i + width]) / width for i in range(0, max(1, len(curve) - width))]
    figure, axes = plt.subplots(figsize=(6, 3))
    axes.plot(smooth)
    axes.set(title=name, xlabel="step", ylabel="loss")
    axes.set_yscale("log")
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def choose(items: int, count: int, generator: torch.Generator) -> torch.Tensor:
    """``count`` random indices below ``items``, int64."""
    return torch.randint(items, (count,), generator=generator, device=generator.device)


def flips(count: int, probability: float, generator: torch.Generator) -> torch.Tensor:
    """bool ``[count]``, each true with this probability."""
    return uniform((count,), generator) < probability


def normal(shape: Sequence[int], generator: torch.Generator) -> torch.Tensor:
    """Standard normal numbers where the generator is."""
    return torch.randn(tuple(shape), generator=generator, device=generator.device)


def uniform(shape: Sequence[int], generator: torch.Generator) -> torch.Tensor:
    """Numbers in [0, 1) where the generator is."""
    return torch.rand(tuple(shape), generator=generator, device=generator.device)

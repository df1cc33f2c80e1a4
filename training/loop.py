"""The loop every stage trains in: bounded by steps and minutes, resumable, averaged, its curve drawn."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import matplotlib
import torch
from torch import nn

from training.presets import PRESETS, Preset

matplotlib.use("Agg")
SAVE_EVERY = 90.0  # seconds


def arguments(what: str) -> tuple[Preset, float]:
    """Preset and time limit in minutes from the command line, the same for every stage."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--preset", choices=PRESETS, default="cpu")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after this long, schedule fitted")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads, 0: torch's choice")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    return PRESETS[options.preset], options.minutes


def device() -> torch.device:
    """The first GPU, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def fit(
    name: str,
    preset: Preset,
    module: nn.Module,
    loss: Callable[[torch.Generator], torch.Tensor],
    steps: int,
    learning_rate: float,
    minutes: float = float("inf"),
    average: float = 0.999,
) -> None:
    """Minimises ``loss`` over ``module``'s parameters; leaves their moving average in the module.

    Warm-up over 100 steps, then a cosine to zero over steps or minutes, whichever ends first. The state is saved
    to ``<preset folder>/<name>.pt`` and taken up again from there; a finished stage is loaded and left alone.
    """
    path = preset.folder / f"{name}.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    module.train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=learning_rate, betas=(0.9, 0.99), weight_decay=0.01)
    mean = {key: value.clone() for key, value in module.state_dict().items()}
    step, spent, curve = 0, 0.0, list[float]()
    if path.exists():
        state = torch.load(path, map_location=device(), weights_only=True)
        module.load_state_dict(state["module"])
        optimizer.load_state_dict(state["optimizer"])
        mean, step, spent, curve = state["mean"], state["step"], state["spent"], state["curve"]
        if state["done"]:
            module.load_state_dict(mean)
            module.eval()
            return
    started = saved = time.monotonic() - spent

    def save(done: bool = False) -> None:
        torch.save(
            {
                "module": module.state_dict(),
                "optimizer": optimizer.state_dict(),
                "mean": mean,
                "step": step,
                "spent": time.monotonic() - started,
                "curve": curve,
                "done": done,
            },
            path.with_suffix(".tmp"),
        )
        path.with_suffix(".tmp").replace(path)
        draw(curve, path.with_suffix(".png"), name)

    saved = time.monotonic()
    while (progress := max(step / steps, (time.monotonic() - started) / 60 / minutes)) < 1:
        rate = (
            learning_rate * min(1.0, (step + 1) / 100) * 0.5 * (1 + float(torch.cos(torch.tensor(progress * 3.1416))))
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        # A generator per step, not one that runs on: a resumed run then draws what an uncut one would have.
        value = loss(torch.Generator().manual_seed(step))
        optimizer.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        step += 1
        decay = min(average, step / (step + 10))
        with torch.no_grad():
            for key, current in module.state_dict().items():
                mean[key].lerp_(current, 1 - decay) if current.is_floating_point() else mean[key].copy_(current)
        curve.append(float(value.detach()))
        if step % 50 == 0:
            recent = sum(curve[-50:]) / 50
            print(f"{name}: step {step} of {steps}, {progress:.0%}, loss {recent:.4f}", flush=True)
        if time.monotonic() - saved > SAVE_EVERY:
            save()
            saved = time.monotonic()
    save(done=True)
    module.load_state_dict(mean)
    module.eval()


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
    return torch.randint(items, (count,), generator=generator)


def flips(count: int, probability: float, generator: torch.Generator) -> torch.Tensor:
    """bool ``[count]``, each true with this probability."""
    return torch.rand(count, generator=generator) < probability


def stack(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
    """The tensors along a new first axis, on the training device."""
    return torch.stack(list(tensors)).to(device())

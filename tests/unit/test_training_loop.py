"""The training loop: cut and taken up again it ends where an uncut run ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from training import loop
from training.loop import choose, fit, flips
from training.presets import PRESETS, Preset

STEPS = 12
Loss = Callable[[torch.Generator], torch.Tensor]


@pytest.fixture
def preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Preset:
    """A preset that keeps its state in a fresh folder."""
    monkeypatch.chdir(tmp_path)
    return replace(PRESETS["smoke"], name="loop")


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saves after every step and draws no curve."""
    monkeypatch.setattr(loop, "SAVE_EVERY", -1.0)
    monkeypatch.setattr(loop, "draw", lambda *_: None)


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.BatchNorm1d(8), nn.Linear(8, 1)).to(loop.device())


def regression(module: nn.Module, fail_at: int | None = None) -> Loss:
    """Noisy sums to be learned; ends the process, so to speak, before step ``fail_at``."""
    seen = 0

    def loss(generator: torch.Generator) -> torch.Tensor:
        nonlocal seen
        if seen == fail_at:
            raise KeyboardInterrupt
        seen += 1
        x = torch.randn(16, 4, generator=generator).to(loop.device())
        error: torch.Tensor = ((module(x)[:, 0] - x.sum(dim=1)) ** 2).mean()
        return error

    return loss


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("cut", [1, 7])
def test_a_resumed_run_ends_exactly_where_an_uncut_one_does(preset: Preset, cut: int) -> None:
    uncut = network()
    fit("uncut", preset, uncut, regression(uncut), STEPS, 0.01)

    first = network()
    with pytest.raises(KeyboardInterrupt):
        fit("cut", preset, first, regression(first, fail_at=cut), STEPS, 0.01)
    resumed = network()
    fit("cut", preset, resumed, regression(resumed), STEPS, 0.01)

    expected, found = uncut.state_dict(), resumed.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    curves = [torch.load(preset.folder / f"{name}.pt", weights_only=True)["curve"] for name in ("uncut", "cut")]
    assert len(curves[0]) == STEPS
    assert curves[0] == curves[1]


@pytest.mark.usefixtures("undrawn")
def test_a_finished_stage_is_loaded_and_not_trained_again(preset: Preset) -> None:
    trained = network()
    fit("done", preset, trained, regression(trained), STEPS, 0.01)

    loaded = network()
    fit("done", preset, loaded, regression(loaded, fail_at=0), STEPS, 0.01)

    assert not loaded.training
    assert all(
        torch.equal(a, b) for a, b in zip(trained.state_dict().values(), loaded.state_dict().values(), strict=True)
    )


@pytest.mark.usefixtures("undrawn")
def test_what_is_left_is_the_average_and_not_the_last_step(preset: Preset) -> None:
    module = network()
    fit("average", preset, module, regression(module), STEPS, 0.01)

    state = torch.load(preset.folder / "average.pt", weights_only=True)

    assert torch.equal(module.state_dict()["0.weight"], state["mean"]["0.weight"])
    assert not torch.equal(state["mean"]["0.weight"], state["module"]["0.weight"])


@pytest.mark.usefixtures("undrawn")
def test_training_learns(preset: Preset) -> None:
    module = network()
    fit("learns", preset, module, regression(module), 200, 0.05)

    curve = torch.load(preset.folder / "learns.pt", weights_only=True)["curve"]

    assert sum(curve[-10:]) < 0.3 * sum(curve[:10])


@pytest.mark.usefixtures("undrawn")
def test_the_clock_ends_a_run_that_has_steps_left(preset: Preset) -> None:
    module = network()
    fit("clock", preset, module, regression(module), 10**9, 0.01, minutes=0.1 / 60)

    state = torch.load(preset.folder / "clock.pt", weights_only=True)

    assert state["done"]
    assert 0 < state["step"] < 10**9


def test_the_curve_is_drawn_beside_the_state(preset: Preset) -> None:
    module = network()
    fit("curve", preset, module, regression(module), 3, 0.01)

    assert (preset.folder / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_random_choices_follow_their_generator_alone() -> None:
    draws = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(7)
        draws.append((choose(10, 50, generator), flips(1000, 0.3, generator)))

    assert all(torch.equal(a, b) for a, b in zip(*draws, strict=True))
    numbers, flags = draws[0]
    assert set(numbers.tolist()) == set(range(10))
    assert flags.float().mean() == pytest.approx(0.3, abs=0.05)

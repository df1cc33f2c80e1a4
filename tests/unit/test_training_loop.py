"""The training loop: cut and taken up again it ends where an uncut run ends."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

from training import loop
from training.loop import OUT_OF_TIME, choose, fit, flips
from training.presets import PRESETS, Limits, Preset, Stage
from training.state import alone
from training.views import Variety

STEPS = 12
STAGE = Stage(STEPS, 16, 0.01)
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
    fit("uncut", preset, uncut, regression(uncut), STAGE)

    first = network()
    with pytest.raises(KeyboardInterrupt):
        fit("cut", preset, first, regression(first, fail_at=cut), STAGE)
    resumed = network()
    fit("cut", preset, resumed, regression(resumed), STAGE)

    expected, found = uncut.state_dict(), resumed.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    curves = [torch.load(preset.folder / f"{name}.pt", weights_only=True)["curve"] for name in ("uncut", "cut")]
    assert len(curves[0]) == STEPS
    assert curves[0] == curves[1]


@pytest.mark.usefixtures("undrawn")
def test_a_finished_stage_is_loaded_and_not_trained_again(preset: Preset) -> None:
    trained = network()
    fit("done", preset, trained, regression(trained), STAGE)

    loaded = network()
    fit("done", preset, loaded, regression(loaded, fail_at=0), STAGE)

    assert not loaded.training
    assert all(
        torch.equal(a, b) for a, b in zip(trained.state_dict().values(), loaded.state_dict().values(), strict=True)
    )


@pytest.mark.usefixtures("undrawn")
def test_layers_that_leave_values_out_do_so_alike_after_a_cut(preset: Preset) -> None:
    def leaky() -> nn.Module:
        return nn.Sequential(nn.Dropout(0.5), network())

    uncut, first, resumed = leaky(), leaky(), leaky()
    fit("uncut", preset, uncut, regression(uncut), STAGE)
    with pytest.raises(KeyboardInterrupt):
        fit("cut", preset, first, regression(first, fail_at=5), STAGE)
    torch.manual_seed(99)
    fit("cut", preset, resumed, regression(resumed), STAGE)
    assert all(
        torch.equal(a, b) for a, b in zip(uncut.state_dict().values(), resumed.state_dict().values(), strict=True)
    )


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    "other", [{"concepts": ("ghost",)}, {"styles": ("noto",)}, {"width": 32}, {"variety": Variety(coloured=1.0)}]
)
def test_the_state_of_another_run_is_not_taken_up(preset: Preset, other: dict[str, Any]) -> None:
    fit("mine", preset, network(), regression(network()), Stage(1, 16, 0.01))
    with pytest.raises(RuntimeError, match=r"mine\.pt is of another run"):
        fit("mine", replace(preset, **other), network(), regression(network()), Stage(1, 16, 0.01))
    fit("mine", replace(preset, clip=Stage(9, 9, 0.9)), network(), regression(network()), Stage(1, 16, 0.01))


@pytest.mark.usefixtures("undrawn")
def test_the_state_of_a_stage_that_learned_from_another_network_is_not_taken_up(preset: Preset) -> None:
    teacher, other = network(), nn.Linear(2, 2)
    fit("pupil", preset, network(), regression(network()), Stage(1, 16, 0.01), made_from=[teacher, "v"])
    fit("pupil", preset, network(), regression(network()), Stage(1, 16, 0.01), made_from=[network(), "v"])
    for parts in ([other, "v"], [teacher, "epsilon"], []):
        with pytest.raises(RuntimeError, match="of another run"):
            fit("pupil", preset, network(), regression(network()), Stage(1, 16, 0.01), made_from=parts)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("left", [0, 10, 500])
def test_a_damaged_state_is_named(preset: Preset, left: int) -> None:
    fit("torn", preset, network(), regression(network()), Stage(1, 16, 0.01))
    file = preset.folder / "torn.pt"
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(RuntimeError, match=r"torn\.pt is damaged; without it its stage begins anew"):
        fit("torn", preset, network(), regression(network()), Stage(1, 16, 0.01))


@pytest.mark.usefixtures("undrawn")
def test_a_state_with_one_bit_turned_is_damaged(preset: Preset) -> None:
    fit("torn", preset, network(), regression(network()), Stage(1, 16, 0.01))
    file = preset.folder / "torn.pt"
    whole = file.read_bytes()
    weights = next(iter(torch.load(file, weights_only=True)["mean"].values())).numpy().tobytes()
    for place in (whole.index(weights), whole.index(weights) + 5):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(RuntimeError, match=r"torn\.pt is damaged; .* does not have its checksum"):
            fit("torn", preset, network(), regression(network()), Stage(1, 16, 0.01))
    torch.save([1, 2], file)
    with pytest.raises(RuntimeError, match=r"torn\.pt is of another run"):
        fit("torn", preset, network(), regression(network()), Stage(1, 16, 0.01))


@pytest.mark.usefixtures("undrawn")
def test_a_loss_that_is_no_number_ends_the_run_and_the_state_stays_what_it_was(preset: Preset) -> None:
    module, steps = network(), 0

    def loss(generator: torch.Generator) -> torch.Tensor:
        nonlocal steps
        steps += 1
        return regression(module)(generator) * (torch.nan if steps == 4 else 1)

    with pytest.raises(RuntimeError, match="bad: the loss of step 4 is nan"):
        fit("bad", preset, module, loss, STAGE)
    state = torch.load(preset.folder / "bad.pt", weights_only=True)
    assert (state["step"], state["done"]) == (3, False)
    assert all(value.isfinite().all() for value in state["module"].values())


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("bad", [torch.inf, torch.nan])
def test_a_gradient_that_is_no_number_ends_the_run_before_it_is_followed(preset: Preset, bad: float) -> None:
    module, steps = network(), 0

    def loss(generator: torch.Generator) -> torch.Tensor:
        nonlocal steps
        steps += 1
        found = regression(module)(generator)
        if steps == 4:
            found.register_hook(lambda gradient: gradient * bad)  # type: ignore[no-untyped-call]
        return found

    with pytest.raises(RuntimeError, match="bad: the gradient of step 4 is"):
        fit("bad", preset, module, loss, STAGE)
    assert all(value.isfinite().all() for value in module.state_dict().values())


@pytest.mark.usefixtures("undrawn")
def test_a_state_is_read_by_a_run_that_is_alone_with_it(preset: Preset, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(path: Path, made_from: str) -> None:
        with pytest.raises(RuntimeError, match="another run is training that"), alone(path):
            pass

    monkeypatch.setattr(loop, "state_of", read)
    module = network()
    fit("alone", preset, module, regression(module), Stage(1, 16, 0.01))


@pytest.mark.usefixtures("undrawn")
def test_two_runs_do_not_train_one_state_at_once(preset: Preset) -> None:
    def loss(generator: torch.Generator) -> torch.Tensor:
        with pytest.raises(RuntimeError, match=r"both\.pt: another run is training that"):
            fit("both", preset, network(), regression(network()), STAGE)
        return regression(module)(generator)

    module = network()
    fit("both", preset, module, loss, Stage(1, 16, 0.01))
    fit("both", preset, network(), loss, Stage(1, 16, 0.01))  # done: nothing is held any more


@pytest.mark.usefixtures("undrawn")
def test_what_is_left_is_the_average_and_not_the_last_step(preset: Preset) -> None:
    module = network()
    fit("average", preset, module, regression(module), STAGE)

    state = torch.load(preset.folder / "average.pt", weights_only=True)

    assert torch.equal(module.state_dict()["0.weight"], state["mean"]["0.weight"])
    assert not torch.equal(state["mean"]["0.weight"], state["module"]["0.weight"])


@pytest.mark.usefixtures("undrawn")
def test_training_learns(preset: Preset) -> None:
    module = network()
    fit("learns", preset, module, regression(module), Stage(200, 16, 0.05))

    curve = torch.load(preset.folder / "learns.pt", weights_only=True)["curve"]

    assert sum(curve[-10:]) < 0.3 * sum(curve[:10])


@pytest.mark.usefixtures("undrawn")
def test_the_clock_ends_a_run_that_has_steps_left(preset: Preset) -> None:
    module = network()
    fit("clock", preset, module, regression(module), Stage(10**9, 16, 0.01, minutes=0.1 / 60))

    state = torch.load(preset.folder / "clock.pt", weights_only=True)

    assert state["done"]
    assert 0 < state["step"] < 10**9


@pytest.mark.usefixtures("undrawn")
def test_a_command_out_of_time_saves_and_the_next_one_ends_where_an_uncut_run_does(preset: Preset) -> None:
    uncut = network()
    fit("uncut", preset, uncut, regression(uncut), STAGE)

    for _ in range(STEPS):  # a command that is late already still does one step
        module = network()
        with pytest.raises(SystemExit) as end:
            fit("timed", preset, module, regression(module), STAGE, Limits(until=time.monotonic()))
        assert end.value.code == OUT_OF_TIME
    module = network()
    fit("timed", preset, module, regression(module, fail_at=0), STAGE)

    expected, found = uncut.state_dict(), module.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.usefixtures("undrawn")
def test_the_callers_minutes_replace_the_stages_own(preset: Preset) -> None:
    module = network()
    fit("granted", preset, module, regression(module), replace(STAGE, minutes=1e-9), Limits(minutes=5.0))

    assert torch.load(preset.folder / "granted.pt", weights_only=True)["step"] == STEPS


def test_sigterm_saves_the_step_it_came_in_and_the_handler_before_it_is_put_back(preset: Preset) -> None:
    module = network()
    learn = regression(module)
    before = signal.getsignal(signal.SIGTERM)

    def loss(generator: torch.Generator) -> torch.Tensor:
        os.kill(os.getpid(), signal.SIGTERM)
        return learn(generator)

    with pytest.raises(SystemExit) as end:
        fit("killed", preset, module, loss, STAGE)

    state = torch.load(preset.folder / "killed.pt", weights_only=True)
    assert (end.value.code, state["step"], state["done"]) == (143, 1, False)
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_sheet_shows_the_average_and_training_goes_on_from_the_weights(
    preset: Preset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "SHEET_EVERY", -1.0)
    plain, shown = network(), network()
    seen: list[torch.Tensor] = []

    def sheet() -> Image.Image:
        assert not shown.training
        seen.append(shown.state_dict()["0.weight"].clone())
        return Image.new("RGB", (2, 2))

    fit("plain", preset, plain, regression(plain), STAGE)
    fit("shown", preset, shown, regression(shown), STAGE, sheet=sheet)

    assert torch.equal(seen[-1], shown.state_dict()["0.weight"])
    assert torch.equal(plain.state_dict()["0.weight"], shown.state_dict()["0.weight"])
    assert len(list(preset.folder.glob("shown-*.png"))) == STEPS


def test_the_curve_is_drawn_beside_the_state(preset: Preset) -> None:
    module = network()
    fit("curve", preset, module, regression(module), Stage(3, 16, 0.01))

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

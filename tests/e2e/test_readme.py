"""The README does what it says: every command and example, from top to bottom, in an empty folder."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.readme import README, Example, examples

WRITTEN = "127.0.0.1:50050"  # what the README calls the gateway
GRACE_S = 30
NOT_RUN = {"make demo": "installs everything"}  # by how the block begins
EXAMPLES = list(examples(README.read_text()))


@pytest.fixture
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a fresh ``unclip serve`` with the embedded checkpoint has its gateway."""
    command = [sys.executable, "-m", "unclip.cli", "serve", "--port", "0"]
    folder = tmp_path_factory.mktemp("serve")
    with subprocess.Popen([*command, "--log-dir", str(folder)], stdout=subprocess.PIPE, text=True) as serving:
        assert serving.stdout is not None
        try:
            yield serving.stdout.readline().removeprefix("gateway on ").strip()
        finally:
            serving.send_signal(signal.SIGINT)
            serving.communicate(timeout=GRACE_S)
    assert serving.returncode == 0


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """The programs that a reader has: those of this environment, and grpcurl, or what stands in for it."""
    tools = tmp_path / "tools"
    tools.mkdir()
    commands = {"unclip": "unclip.cli", "pytest": "pytest"}
    if shutil.which("grpcurl") is None:
        commands["grpcurl"] = "tests.e2e.grpcurl"
    for name, module in commands.items():
        (tools / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
        (tools / name).chmod(0o755)
    return tools


def test_what_is_not_run_is_listed() -> None:
    left_out = {example.text.splitlines()[0]: example.why for example in EXAMPLES if example.why}
    assert len(left_out) == len(NOT_RUN)
    for begin, why in NOT_RUN.items():
        assert any(first.startswith(begin) and said == why for first, said in left_out.items())
    assert len(EXAMPLES) > 20
    assert README.read_text().count("```sh\n") + README.read_text().count("```python\n") == len(EXAMPLES)


@pytest.mark.parametrize("text", ["false\n", "unclip vary nowhere.png\n", "cp nothing x\ntrue\n", "false | cat\n"])
def test_an_example_that_fails_is_told_with_its_line(text: str, tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(README.parent))
    with pytest.raises(AssertionError, match=r"README\.md line 7:"):
        run(Example("sh", text, 7, ""), "127.0.0.1:1", {})


@pytest.mark.timeout(600)  # of a busy machine
def test_every_example_runs_from_top_to_bottom(
    address: str, tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("UNCLIP_SERVER", address)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(README.parent))
    names: dict[str, object] = {"__name__": "__main__"}
    try:
        for example in EXAMPLES:
            if not example.why:
                run(example, address, names)
    finally:
        getattr(names.get("client"), "close", lambda: None)()
    for name in ("apple.png", "mask.png", "robot-1.png", "vectors.npz", "out/vary-apple-8.png"):
        assert (folder / name).stat().st_size > 0


def run(example: Example, address: str, names: dict[str, object]) -> None:
    """Runs one example as a reader would; Python's have each other's ``names``."""
    where = f"README.md line {example.line}"
    text = example.text.replace(WRITTEN, address)
    if example.file:
        Path(example.file).write_text(text)
    elif example.language == "python":
        # So that a failure shows the line of the README.
        exec(compile("\n" * (example.line - 1) + text, str(README), "exec"), names)
    else:
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", text], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{where}:\n{text}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        assert "Traceback" not in done.stderr, where

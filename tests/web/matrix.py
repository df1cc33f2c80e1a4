"""``python -m tests.web.matrix [--stubs]``: every SDK, every call, against the services with the embedded checkpoint,
or the stubs; a table of what passed, and exit status 1 when something did not.

The calls are those of the tests in this folder.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import openai
import pytest

from tests.bench.report import table
from tests.web import test_applications, test_node, test_openai_python
from tests.web.stacks import KEY, WebStack, stubbed, web_before
from unclip.client import Client
from unclip.local.stack import LocalStack

SUITES: dict[str, ModuleType] = {
    f"openai {openai.__version__} (Python)": test_openai_python,
    "Node: openai, @langchain/openai": test_node,
    "applications": test_applications,
}


@contextmanager
def real(folder: Path) -> Iterator[WebStack]:
    """The services with the embedded checkpoint, and the web process before them."""
    with LocalStack() as stack, web_before(stack.address, folder) as web, Client(stack.address) as client:
        sides = {stage.stage: stage.image_size for stage in client.model_info().stages}
        yield replace(web, native=sides["upsampler"], base=sides["decoder"])


def cases(suite: ModuleType) -> Iterator[tuple[str, Callable[..., Any], dict[str, Any]]]:
    """Each test of a module: its name, the function, and the parameters that it is given."""
    for name, function in [*vars(suite).items()]:
        if name.startswith("test_"):
            marks = [mark for mark in getattr(function, "pytestmark", ()) if mark.name == "parametrize"]
            rows = marks[0].args[1] if marks else [()]
            names = [] if not marks else marks[0].args[0]
            names = [word.strip() for word in names.split(",")] if isinstance(names, str) else list(names)
            for row in rows:
                yield name, function, dict(zip(names, row if len(names) > 1 or not names else (row,), strict=True))


def call(function: Callable[..., Any], given: dict[str, Any], stack: WebStack, folder: Path) -> None:
    """Runs a test with what it asks for."""
    asked = inspect.signature(function).parameters
    with openai.OpenAI(base_url=stack.base_url, api_key=KEY, max_retries=0) as client:
        known = {"stack": stack, "client": client, "tmp_path": folder, **given}
        result = function(**{name: known[name] for name in asked})
        if inspect.iscoroutine(result):
            asyncio.run(result)


def main() -> int:
    """Runs all of them."""
    parser = argparse.ArgumentParser(prog="python -m tests.web.matrix", description=__doc__)
    parser.add_argument("--stubs", action="store_true", help="against stubs, which is what `make test` does")
    chosen = parser.parse_args()
    failed = False
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(prefix="unclip-matrix-") as scratch:
        folder = Path(scratch)
        with stubbed(folder) if chosen.stubs else real(folder) as stack:
            for suite, module in SUITES.items():
                if module is test_node and not test_node.HERE:
                    rows.append({"SDK": suite, "call": "all", "result": "not run: no npm packages"})
                    continue
                for name, function, given in cases(module):
                    began, result = time.monotonic(), "pass"
                    try:
                        call(function, given, stack, folder)
                    except (Exception, pytest.fail.Exception):
                        traceback.print_exc()
                        result, failed = "FAIL", True
                    words = name.removeprefix("test_").replace("_", " ")
                    words += "".join(f" [{value}]" for value in given.values())
                    seconds = round(time.monotonic() - began, 1)
                    rows.append({"SDK": suite, "call": words[:110], "result": result, "seconds": seconds})
    print(table(rows))
    print(f"\n{sum(row['result'] == 'pass' for row in rows)} of {len(rows)} passed")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

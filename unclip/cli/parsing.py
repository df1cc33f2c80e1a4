"""Parsers of commands: errors that help, and examples in every help."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction["Parser"]

STATUS = """exit status: 0 done, 1 failed, 2 what was asked is wrong, 3 not now, try again,
4 this stack cannot or will not, 5 no answer in time, 130 interrupted"""


class Misused(Exception):
    """Arguments that make no sense."""


class Parser(argparse.ArgumentParser):
    """A command's. What it parses has it as ``command``, so that errors can be said in its words."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more, allow_abbrev=False)  # --n would be --negative

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does; what is not known is told by the innermost command, with what is like it."""
        found, rest = self.parse_known_args(args, namespace)
        if rest:
            found.command.error(found.command.unknown(rest))
        return found

    def unknown(self, words: Sequence[str]) -> str:
        """What to say of ``words`` that nothing is known of."""
        said = f"unrecognized arguments: {' '.join(words)}"
        flags = [flag for flag in self._option_string_actions if flag.startswith("--")]
        for word in words:
            if word.startswith("--"):
                name = word.partition("=")[0].replace("_", "-")
                like = [flag for flag in flags if flag.endswith(name[1:]) or name.endswith(flag[1:])]
                like = like or difflib.get_close_matches(name, flags, 2)
                return f"{said}; there is {' and '.join(like)}" if like else said
        if "--caption" in flags and any(" " in word for word in words):
            return f"{said}; there is --caption"
        return f"{said}; text of several words needs quotes around it"

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does; the innermost command comes first."""
        found, rest = super().parse_known_args(args, namespace)
        if not hasattr(found, "command"):
            found.command = self
        return found, rest

    def _get_values(self, action: Any, arg_strings: Any) -> Any:
        """As argparse does, but that ``--`` behind ``--option=`` is a value, which argparse takes away."""
        if action.option_strings and action.nargs is None and arg_strings == ["--"]:
            return self._get_value(action, "--")
        return super()._get_values(action, arg_strings)

    def error(self, message: str) -> NoReturn:
        """Raises Misused."""
        raise Misused(f"{message}; see {self.prog} --help")


def examples(*lines: str) -> str:
    """The end of a command's help."""
    return "\n".join(["examples:", *(f"  {line}" for line in lines), "", STATUS])


def add_command(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], Any],
    help: str,
    lines: Sequence[str],
    more: str = "",
) -> Parser:
    """A command that ``run`` runs. lines: examples of it. more: what its help says beyond ``help``."""
    description = f"{help[0].upper()}{help[1:]}.\n{more}".strip()
    command = commands.add_parser(
        name,
        help=help,
        description=description,
        epilog=examples(*lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run)
    return command

"""How the words behind `mipi` are read: argparse, with a mistake as a `UserError`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

from mipi_pl.utils.errors import UserError


class _Paragraphs(argparse.HelpFormatter):
    """Wraps the description to the terminal as argparse does, but keeps its paragraphs."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.split("\n\n")
        return "\n\n".join(super(_Paragraphs, self)._fill_text(part, width, indent) for part in paragraphs)


class Parser(argparse.ArgumentParser):
    """Parser of `mipi` and of each of its commands.

    A command that declares a positional ``overrides`` gets all ``key=value`` words there, wherever they stand among
    the options. A raw command gets all its words in ``words``, in their order.

    Args:
        raw: pass every word but ``--help`` on, flags as well.
        details: computes a text that ``--help`` prints below everything else, as it is.
        settings: argparse's own.
    """

    def __init__(self, *, raw: bool = False, details: Callable[[], str] | None = None, **settings: Any) -> None:
        super().__init__(formatter_class=_Paragraphs, allow_abbrev=False, **settings)
        self._raw = raw
        self._details = details

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Read the words; argparse calls this for the command that it meets, too.

        Returns:
            The options, and an empty list: no word is left over.

        Raises:
            UserError: for a word that fits no argument.
        """
        options, rest = super().parse_known_args(args, namespace)
        if self._raw:
            options.words, rest = rest, []
        elif "overrides" in options:
            options.overrides = [*options.overrides, *(word for word in rest if not word.startswith("-"))]
            rest = [word for word in rest if word.startswith("-")]
        if rest:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        return options, []

    def format_help(self) -> str:
        """The text of ``--help``."""
        return super().format_help() + (self._details() if self._details else "")

    def error(self, message: str) -> NoReturn:
        """Refuse.

        Raises:
            UserError: always.
        """
        raise UserError(f"{message}; see {self.prog} --help")


AddParser = Callable[..., Parser]
"""``add_parser`` of argparse's subparsers: takes a command's name, its summary as ``help``, and what `Parser` takes."""


def arguments_of(options: argparse.Namespace) -> dict[str, Any]:
    """What was given on the command line, or its defaults, without the function that runs the command."""
    return {name: value for name, value in vars(options).items() if name != "run"}


def whole_number(word: str) -> int:
    """For `type=` of an option.

    Raises:
        argparse.ArgumentTypeError: if it is none.
    """
    try:
        return int(word)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, got {word!r}") from None

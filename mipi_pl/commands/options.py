"""Options of the commands that take no Hydra overrides: argparse, with the house's way of refusing."""

from __future__ import annotations

import argparse
from typing import NoReturn

from mipi_pl.utils.errors import UserError


class _Paragraphs(argparse.HelpFormatter):
    """Wraps the description to the terminal as argparse does, but keeps its paragraphs."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.split("\n\n")
        return "\n\n".join(super(_Paragraphs, self)._fill_text(part, width, indent) for part in paragraphs)


class Parser(argparse.ArgumentParser):
    """Reads the words behind `mipi NAME`; ``--help`` prints the description and the options.

    Args:
        name: of the command.
        description: what it does, in the words of ``--help``.
    """

    def __init__(self, name: str, description: str) -> None:
        super().__init__(
            f"mipi {name}",
            description=description,
            formatter_class=_Paragraphs,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Refuse.

        Raises:
            UserError: always.
        """
        raise UserError(f"{message}; see {self.prog} --help")


def whole_number(word: str) -> int:
    """For `type=` of an option.

    Raises:
        argparse.ArgumentTypeError: if it is none.
    """
    try:
        return int(word)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, got {word!r}") from None

"""Argument parsing of the `mipi` command: argparse with `key=value` overrides, raising `UserError` on invalid input."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import mipi_pl
from mipi_pl.run.config_files import CONFIG_DIR
from mipi_pl.storage.provenance import commit
from mipi_pl.utils.errors import UserError, did_you_mean


class _Paragraphs(argparse.HelpFormatter):
    """Wraps the description to the width of the terminal, like argparse, and keeps its paragraphs."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.split("\n\n")
        return "\n\n".join(super(_Paragraphs, self)._fill_text(part, width, indent) for part in paragraphs)


class Parser(argparse.ArgumentParser):
    """Parser of `mipi` and of each of its commands.

    A command with a positional argument ``overrides`` receives all ``key=value`` arguments there, at any position among
    the options. A raw command receives all its arguments in ``words``, in order.

    Args:
        raw: pass on all arguments unparsed, including flags.
        details: returns a text that ``--help`` prints at the end, unwrapped.
        settings: arguments of `argparse.ArgumentParser`.

    Attributes:
        arguments: the arguments that were added, including ``--help``.
    """

    def __init__(
        self,
        *,
        raw: bool = False,
        details: Callable[[], str] | None = None,
        **settings: Any,
    ) -> None:
        self.arguments: list[argparse.Action] = []
        super().__init__(formatter_class=_Paragraphs, allow_abbrev=False, **settings)
        self._raw, self._details = raw, details

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parse the arguments; argparse also calls this for the subparser of a command.

        Returns:
            The options, and an empty list, because no argument is left over.

        Raises:
            UserError: if an argument is not recognized.
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
        """Return the text of ``--help``."""
        return super().format_help() + (self._details() if self._details else "")

    def add_argument(self, *names: Any, **settings: Any) -> argparse.Action:
        """Add an argument, and keep it in `arguments`."""
        action = super().add_argument(*names, **settings)
        self.arguments.append(action)
        return action

    def error(self, message: str) -> NoReturn:
        """Raise a `UserError` instead of exiting, with the most similar of the choices that the message lists.

        Raises:
            UserError: always.
        """
        choice = re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message)
        hint = did_you_mean(choice[1], re.findall(r"[\w.-]+", choice[2])) if choice else ""
        raise UserError(f"{message}; {hint}see {self.prog} --help")


class ShowVersion(argparse.Action):
    """Flag that prints the version and commit of the program and exits."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:  # noqa: A002
        # It has no value, so the options of a command do not contain it.
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        """Print version and commit."""
        known = commit()
        print(
            f"mipi {mipi_pl.__version__}{f' (commit {known})' if known else ''}"
        )  # argparse's own message goes to stderr
        parser.exit()


def add_checkpoint(parser: Parser, meaning: str) -> None:
    """Add the first argument of a command that opens a checkpoint; `checkpoint_of` returns it."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", type=Path, help=meaning)
    parser.set_defaults(command=parser.prog)


def checkpoint_of(options: argparse.Namespace) -> Path:
    """Return the checkpoint that was named.

    Raises:
        UserError: if it is an override instead of a file.
    """
    checkpoint: Path = options.checkpoint
    if "=" in str(checkpoint) and not checkpoint.exists():
        raise UserError(f"the first argument must be a checkpoint file, got {checkpoint}; see {options.command} --help")
    return checkpoint


def add_overrides(parser: Parser, meaning: str) -> None:
    """Add the overrides ``key=value``, which may be anywhere among the other arguments."""
    parser.add_argument("overrides", metavar="key=value", nargs="*", default=(), help=meaning)


def add_config_dir(parser: Parser, meaning: str = "folder of your own modules that the run was trained with") -> None:
    """Add the flag that names the user's own folder of modules."""
    parser.add_argument(*CONFIG_DIR, metavar="FOLDER", help=meaning)


AddParser = Callable[..., Parser]
"""``add_parser`` of argparse's subparsers: takes a command name, its summary as ``help``, and arguments of `Parser`."""


def arguments_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return the parsed arguments and defaults, without the function that runs the command."""
    return {name: value for name, value in vars(options).items() if name != "run"}


def whole_number(word: str) -> int:
    """Convert an argument to an integer, for `type=` of an option.

    Raises:
        argparse.ArgumentTypeError: if the argument is not a whole number.
    """
    try:
        return int(word)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number, got {word!r}") from None

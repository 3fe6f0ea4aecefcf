"""Argument parsing of the `mipi` command."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mipi_pl.cli import COMMANDS, _parser
from mipi_pl.commands.options import Parser
from mipi_pl.utils.errors import UserError

NO_TORCH = (
    "import sys; from mipi_pl.cli import main; code = main(sys.argv[1:]); sys.exit(code or 'torch' in sys.modules)"
)


def a_parser() -> Parser:
    """With a command that takes overrides, one that takes raw words and one that takes nothing."""
    top = Parser(prog="mipi")
    commands = top.add_subparsers()
    play = commands.add_parser("play")
    play.add_argument("checkpoint")
    play.add_argument("overrides", nargs="*", default=())
    play.add_argument("--episodes", type=int)
    commands.add_parser("pass", raw=True)
    commands.add_parser("rest")
    return top


@pytest.mark.parametrize(
    "words",
    ["c a=1 b=2 --episodes 3", "c --episodes 3 a=1 b=2", "--episodes 3 c a=1 b=2", "c a=1 --episodes 3 b=2"],
)
def test_overrides_stand_anywhere_and_keep_their_order(words: str) -> None:
    options = a_parser().parse_args(["play", *words.split()])
    assert (options.checkpoint, options.episodes) == ("c", 3)
    assert list(options.overrides) == ["a=1", "b=2"]


def test_a_raw_command_gets_flags_and_words_in_their_order() -> None:
    words = ["-m", "a=1", "--cfg", "job", "~b", "-cd=c d", "--version"]
    assert a_parser().parse_args(["pass", *words]).words == words


def test_commands_that_take_overrides_refuse_the_flags_of_training() -> None:
    parsed = _parser().parse_args(["eval", "c", "a=1", "-cd=c d", "--absolute", "b=2"])
    assert (str(parsed.checkpoint), parsed.absolute, parsed.config_dir) == ("c", True, "c d")
    assert list(parsed.overrides) == ["a=1", "b=2"]
    for command in ("eval sz", "check-env", "compositions"):
        with pytest.raises(UserError, match=f"unrecognized arguments: -m --episodes=3; see mipi {command[:4]}"):
            _parser().parse_args([*command.split(), "-m", "--config-dir", "x", "a=1", "--episodes=3"])


@pytest.mark.parametrize("words", ["play c a=1 --bogus", "rest a=1", "rest --bogus"])
def test_a_word_that_fits_nothing_is_refused_in_the_name_of_the_command(words: str) -> None:
    with pytest.raises(UserError, match=rf"unrecognized arguments: \S+; see mipi {words[:4]} --help"):
        a_parser().parse_args(words.split())


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["watch", "--help"], ["reproduce", "table9"]])
def test_what_needs_no_pytorch_is_answered_without_it(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", NO_TORCH, *arguments], capture_output=True, check=False)
    assert done.returncode == (2 if "table9" in arguments else 0)


def test_help_on_a_command_is_the_help_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    from mipi_pl.cli import main

    for words, expected in ((["watch"], "usage: mipi watch"), (["train", "env=sz"], "env.team_sizes")):
        assert main(["help", *words]) == 0
        assert expected in capsys.readouterr().out
    assert main(["help", "trian"]) == 2
    assert "unknown command 'trian'; did you mean mipi train" in capsys.readouterr().err
    assert main(["dashboard", "--help"]) == 0
    assert "(default: 6 7 8)" in " ".join(capsys.readouterr().out.split())


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    from mipi_pl.cli import main

    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines if line.startswith("    ") and line.strip()} >= set(COMMANDS)

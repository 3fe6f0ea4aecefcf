"""Completion, help within 80 columns, suggestions for misspelled names, and the version."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from mipi_pl.cli import main
from mipi_pl.commands import COMMANDS
from mipi_pl.commands.candidates import candidates
from mipi_pl.run.compose import compose
from mipi_pl.run.config_files import choices_of, defaults_with, meanings, parse
from mipi_pl.run.help import _flat
from mipi_pl.storage import provenance
from mipi_pl.utils import extras

SCRIPT = """\
mipi() { cat "$CANDIDATES"; }
source "$SCRIPT"
COMP_LINE="$LINE"; COMP_POINT=${#COMP_LINE}; COMP_WORDBREAKS=' ='
_mipi_completion mipi
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("mipi tra", ["train"]),
        ("mipi train env=sz", ["env=sz"]),
        ("mipi train env=starcraft2/s", ["env=starcraft2/sz"]),
        ("mipi check-env env=sz", ["env=sz"]),
        ("mipi train env=sz algorithm=mapp", ["algorithm=mappo"]),
        ("mipi train algorithm=mipi_ppo algorithm.marginal_e", ["algorithm.marginal_epochs="]),
        ("mipi train algorithm=refil algorithm.marginal_e", []),
        ("mipi train algorithm=refil algorithm.mixer.h", ["algorithm.mixer.heads="]),
        ("mipi train algorithm=vdn algorithm.mixer.", ["algorithm.mixer._target_="]),
        ("mipi train algorithm=vdn mixer", ["mixer="]),
        ("mipi train optimizer@algorithm.critic_optimizer=a", ["optimizer@algorithm.critic_optimizer=adam"]),
        ("mipi train --cfg j", ["job"]),
        ("mipi train --mu", ["--multirun"]),
        ("mipi eval quick", ["quickstart"]),
        ("mipi eval quickstart held_out.ep", ["held_out.episodes="]),
        ("mipi eval quickstart --", ["--help", "--absolute", "--config-dir"]),
        ("mipi check-env --", ["--config-dir", "--help"]),
        ("mipi watch quickstart --format g", ["gif"]),
        ("mipi reproduce tab", ["table1", "table2", "table3"]),
        ("mipi runs ", []),
        ("mipi completion ", ["bash", "zsh", "fish"]),
        ("mipi nonsense x", []),
        ("mipi completion bash --l", []),
    ],
)
def test_the_last_word_is_completed(line: str, expected: list[str]) -> None:
    assert candidates(line) == expected


def test_every_command_and_every_flag_is_completed() -> None:
    assert set(COMMANDS) <= set(candidates("mipi "))
    for command in COMMANDS:
        assert "--help" in candidates(f"mipi {command} --"), command


@pytest.mark.parametrize(
    ("line", "found", "replies"),
    [("mipi tra", ["train"], ["train"]), ("mipi train env=s", ["env=sz", "env=smac"], ["sz", "smac"])],
)
def test_the_script_of_bash_completes(
    line: str, found: list[str], replies: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", "bash"]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out, encoding="utf-8")
    (tmp_path / "found").write_text("\n".join(found), encoding="utf-8")
    surroundings = {
        "SCRIPT": str(tmp_path / "script"),
        "CANDIDATES": str(tmp_path / "found"),
        "LINE": line,
        "PATH": "/usr/bin:/bin",
    }
    done = subprocess.run(["bash", "-c", SCRIPT], env=surroundings, capture_output=True, text=True, check=True)
    assert done.stdout.split() == replies


@pytest.mark.skipif(shutil.which("fish", path="/usr/bin:/bin") is None, reason="fish is not installed")
@pytest.mark.parametrize(
    ("line", "found", "replies"),
    [
        ("mipi tra", ["train"], ["train"]),
        ("mipi train env=", ["env=sz"], ["env=sz"]),  # and no file of the folder
        ("mipi train env=s", ["env=sz", "env=smac"], ["env=smac", "env=sz"]),
        ("mipi report o", [], ["outputs/"]),
        ("mipi report --output-dir=o", [], ["--output-dir=outputs/"]),
    ],
)
def test_the_script_of_fish_completes(
    line: str, found: list[str], replies: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", "fish"]) == 0
    (tmp_path / "outputs").mkdir()
    answer = "function mipi; string match --quiet -- '*--line mipi*' \"$argv\"; and printf '%s' $CANDIDATES; end\n"
    script = f"{answer}{capsys.readouterr().out}complete --do-complete '{line}'"
    command = ["fish", "--no-config", "--command", script]
    surroundings = {"CANDIDATES": "\n".join(found), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(command, env=surroundings, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == replies


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert f"mipi completion {shell} --line" in capsys.readouterr().out.replace('"$words[1]"', "mipi")


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_eighty_columns(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main([*command.split(), "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if len(line) > 80] == []


def test_help_on_training_says_what_the_keys_of_the_choices_mean(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "experiment=quickstart", "algorithm.clip=0.3", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "algorithm.clip=0.3 largest deviation of the probability ratio from 1" in told
    assert "env: the environment csz: Stalkers and zealots in any mix, and up to two colossi" in told
    assert "total_frames=1000000 Environment steps of the run" in told


@pytest.mark.parametrize("chosen", [f"{group}={name}" for group in ("algorithm", "env") for name in choices_of(group)])
def test_every_key_has_a_meaning(chosen: str) -> None:
    group, _, name = chosen.partition("=")
    config = OmegaConf.to_container(compose([chosen]))
    assert isinstance(config, dict)
    known = meanings(defaults_with({group: name}))
    keys = [key for key, value in _flat(config, known) if value is not None]
    inner = re.compile(r"env\.payoffs\.|held_out\.worlds\.")  # entries of a mapping that has a meaning
    assert [key for key in keys if not known.get(key) and not inner.match(key)] == []


def test_comments_of_a_config_belong_to_their_keys() -> None:
    text = """\
# @package _global_
# What the file is.
a: 1   # beside a
       # and below
# above b,
# in two lines
b:
  c: {d: 1}  # about d

# about nothing

  e: "x"
"""
    file = parse(text)
    assert (file.is_global, file.meaning) == (True, "What the file is.")
    assert file.meanings == {"a": "beside a and below", "b": "above b, in two lines", "b.c": "", "b.e": ""}


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("train algorithm=mpii", "did you mean algorithm=mipi?"),
        ("train env=szz", "did you mean env=sz?"),
        ("train env=starcraft2/szz", "did you mean env=starcraft2/sz?"),
        ("train experiment=quikstart", "did you mean experiment=quickstart?"),
        ("train tuned/learner=battles/on_polcy", "did you mean tuned/learner=battles/on_policy?"),
        ("train algorithm.alhpa=1", "did you mean algorithm.alpha?"),
        ("tarin", "did you mean mipi train?"),
        ("eval quickstar", "did you mean quickstart?"),
        ("reproduce tabel1", "did you mean table1?"),
        ("watch quickstart --format gfi", "did you mean gif?"),
    ],
)
def test_a_misspelled_name_is_answered_with_a_similar_one(
    words: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert hint in line


def test_the_version_has_the_commit(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"mipi {provenance.version()} (commit {provenance.commit()})\n"


def test_the_version_is_that_of_the_package_also_without_an_installation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mipi_pl.__version__", "0+unknown")
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("mipi 0+unknown")


def test_a_hint_installs_an_extra_where_the_name_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert extras.how_to_install("sc2") == "pip install 'mipi-pl[sc2]'"

    def unknown(_: str) -> None:
        raise extras.metadata.PackageNotFoundError

    monkeypatch.setattr(extras.metadata, "metadata", unknown)
    root = Path(__file__).resolve().parent.parent
    assert extras.how_to_install("sc2") == f"pip install -e '{root}[sc2]'"

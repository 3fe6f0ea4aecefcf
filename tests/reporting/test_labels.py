"""Labels of groups, and the runs that a user labels or leaves out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from run_folders import make_run

from mipi_pl.cli import main
from mipi_pl.reporting.differences import tables_of_differences
from mipi_pl.reporting.document import as_markdown
from mipi_pl.reporting.groups import settings, worlds_of
from mipi_pl.reporting.labels import LONGEST, letters
from mipi_pl.reporting.missing import missing_from
from mipi_pl.reporting.report import blocks_of
from mipi_pl.reporting.runs import find_runs
from mipi_pl.reporting.selection import with_labels, without
from mipi_pl.run.compose import compose
from mipi_pl.run.config import resolve
from mipi_pl.utils.errors import UserError


def labels(*folders: Path, **chosen: list[str]) -> list[str]:
    runs = with_labels(without(find_runs(folders), chosen.get("exclude", [])), chosen.get("label", []))
    return [group.label for world in worlds_of(runs) for group in world.groups]


def test_what_the_user_typed_is_the_label_however_many_keys_it_changes(tmp_path: Path) -> None:
    changes = {f"key_{number}": number for number in range(15)}
    make_run(tmp_path / "a", words="experiment=cpu callbacks.generalization.every_frames=10")
    make_run(tmp_path / "b", words="experiment=paper threads=1", algorithm_keys=changes)
    make_run(tmp_path / "c", words="experiment=cpu algorithm.alpha=0.5", algorithm_keys={"alpha": 0.5})
    expected = ["mipi [experiment=cpu, alpha=0.5]", "mipi [experiment=cpu]", "mipi [experiment=paper]"]
    assert labels(tmp_path) == expected


def test_a_value_of_a_multirun_is_that_of_the_run(tmp_path: Path) -> None:
    for alpha in (0.1, 0.2):
        changes = {"alpha": alpha, "width": 10 * alpha, "heads": 20 * alpha, "hidden": 30 * alpha}
        make_run(tmp_path / str(alpha), words="-m algorithm.alpha=0.1,0.2", algorithm_keys=changes)
    assert labels(tmp_path) == ["mipi [alpha=0.1]", "mipi [alpha=0.2]"]


def test_groups_that_nothing_short_tells_apart_have_letters_and_a_key(tmp_path: Path) -> None:
    for number in range(3):
        changes = {f"key_{key}": f"{'long ' * 10}{number}" for key in range(15)}
        time = f"2026-01-0{3 - number}_00-00-00"
        make_run(tmp_path / str(number), algorithm_keys=changes, time=time, words="experiment=cpu")
    make_run(tmp_path / "refil", "refil")
    assert labels(tmp_path) == ["mipi A", "mipi B", "mipi C", "refil"]
    assert all(len(label) <= LONGEST for label in labels(tmp_path))
    (world,) = worlds_of(find_runs([tmp_path]))
    groups = world.groups
    text = as_markdown(list(tables_of_differences([group.of for group in groups], [group.label for group in groups])))
    assert "| setting | mipi A | mipi B | mipi C |" in text
    newest = "long long long long long long long long long long 2"
    assert f"| algorithm.key\\_0 | {newest} | {newest[:-1]}1 | {newest[:-1]}0 |" in text, "A is the oldest"


def test_letters_go_on_after_z() -> None:
    assert [letters(place) for place in (0, 25, 26, 27, 701, 702)] == ["A", "Z", "AA", "AB", "ZZ", "AAA"]


def test_debug_runs_are_marked(tmp_path: Path) -> None:
    make_run(tmp_path, "mipi", 0)
    make_run(tmp_path, "mipi", 1, words="debug=tiny", total_frames=20)
    assert labels(tmp_path) == ["mipi", "mipi (debug)"]
    runs = find_runs([tmp_path])
    assert "marines: 1 debug run: they show that the program works" in "\n".join(missing_from(runs, worlds_of(runs)))
    assert "| finished, debug |" in as_markdown(list(blocks_of("", runs, [], [])))
    assert labels(tmp_path, exclude=["debug"]) == ["mipi"]


def test_the_overrides_in_the_config_count_before_the_command(tmp_path: Path) -> None:
    make_run(tmp_path, "mipi", 0, words="debug=tiny", overrides=[], total_frames=20)
    run = make_run(tmp_path, "mipi", 1, overrides=["+debug=tiny", "~tuned"], total_frames=20)
    provenance = json.loads((run / "provenance.json").read_text())
    (run / "provenance.json").write_text(json.dumps({**provenance, "command": "ipykernel_launcher.py -f x.json"}))
    assert labels(tmp_path) == ["mipi", "mipi (debug)"]


def test_a_config_has_the_overrides_of_its_run() -> None:
    words = ["experiment=matrix_game", "debug=tiny", "held_out.episodes=${seed}"]
    stored = resolve(compose(words))["run"]["overrides"]
    assert stored == ["experiment=matrix_game", "debug=tiny", "held_out.episodes={seed}"]


def test_users_label_folders_algorithms_and_labels_of_the_report(tmp_path: Path) -> None:
    make_run(tmp_path / "old", "mipi", 0)
    make_run(tmp_path / "new=er", "mipi", 0)
    make_run(tmp_path / "other", "refil", 0)
    given = [f"{tmp_path}/old=before = 1", f"{tmp_path}/new=er=after", "ref*=REFIL"]
    assert labels(tmp_path, label=given) == ["REFIL", "after", "before = 1"]
    make_run(tmp_path / "alpha", "mipi", 0, algorithm_keys={"alpha": 0.5})
    assert labels(tmp_path, label=["mipi [alpha=0.5]=ours"]) == ["mipi", "ours", "refil"]
    same = [f"{tmp_path}/old=ours", f"{tmp_path}/alpha=ours"]
    assert labels(tmp_path, label=same)[1:3] == ["ours [alpha=0.1]", "ours [alpha=0.5]"], "never seeds of one algorithm"


def test_users_leave_out_folders_names_and_states(tmp_path: Path) -> None:
    make_run(tmp_path / "a", "mipi", 0)
    make_run(tmp_path / "a", "refil", 3)
    make_run(tmp_path / "b", "value", 0)
    for patterns, left in (
        ([str(tmp_path / "a")], ["value"]),
        (["refil", "value"], ["mipi"]),
        (["marines__*__3"], ["mipi", "value"]),
        ([], ["mipi", "refil", "value"]),
    ):
        assert labels(tmp_path, exclude=patterns) == left


@pytest.mark.parametrize(
    "words", [["--exclude", "nothing"], ["--label", "nothing=x"], ["--label", "mipi"], ["--label", "mipi="]]
)
def test_a_choice_of_no_run_is_refused(tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path)
    assert main(["report", str(tmp_path), *words, "--output-dir", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert " ".join(words) in line
    assert "name a folder, an algorithm" in line
    with pytest.raises(UserError, match="matches no run"):
        without([], ["*"])


def test_keys_that_a_later_version_added_do_not_split_the_seeds_of_an_algorithm() -> None:
    older = {"algorithm": {"clip": 0.2, "agent": {"width": 64}}, "datamodule": {"num_envs": 8}}
    later: dict[str, Any] = {
        "algorithm": {"clip": 0.2, "agent": {"width": 64, "own_entity_only": False}, "mixer": None},
        "datamodule": {"num_envs": 8, "max_faults": 100, "lost_after_s": 120},
    }
    keys = ("algorithm", "datamodule")
    assert settings(older, keys) == settings(later, keys)
    later["algorithm"]["agent"]["own_entity_only"] = True
    assert settings(older, keys) != settings(later, keys)

"""The table and the picture of benchmarks/curves.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from run_folders import make_run

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))

import curves  # noqa: E402

from mipi_pl.utils.errors import UserError  # noqa: E402

KEY = ("marines", "mipi", 0)


def test_a_curve_has_every_evaluation_with_the_final_one_at_its_end(tmp_path: Path) -> None:
    make_run(tmp_path, shares=(0.8, 0.6, 0.5, 0.4))
    make_run(tmp_path, seed=1, finished=False)
    ((key, points),) = curves.read([tmp_path]).items()
    assert key == KEY
    assert curves.curve(points, held_out=False) == [(0.0, 0.0), (0.0005, 0.4), (0.001, 0.8), (0.001, 0.8)]
    assert curves.curve(points, held_out=True)[-1] == (0.001, pytest.approx(0.5))
    assert {(point.updates, point.episodes, point.commit) for point in points[-4:]} == {(100, 20, "ccccccc")}


def test_a_table_is_read_as_it_was_written_and_a_folder_replaces_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path / "old", shares=(0.4, 0.2, 0.2, 0.2))
    make_run(tmp_path / "old", "refil")
    table, picture = tmp_path / "old.csv", tmp_path / "curves.png"
    curves.write(curves.read([tmp_path / "old"]), table)
    curves.write(curves.read([table]), tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == table.read_bytes()
    assert len(table.read_text().splitlines()) == 1 + 2 * 4 * 4
    assert curves.read([table, table]) == curves.read([table])
    make_run(tmp_path / "new", shares=(0.8, 0.6, 0.5, 0.4))
    both = [str(tmp_path / "new"), str(table)]
    again = ["--table", str(tmp_path / "both.csv"), "--picture", str(picture)]
    monkeypatch.setattr(sys, "argv", ["curves.py", *both, *again])
    curves.main()
    assert capsys.readouterr().out.splitlines() == [
        "marines, mipi, seed 0: 0.80 on the training teams, 0.50 held out",
        "marines, refil, seed 0: 0.90 on the training teams, 0.50 held out",
    ]
    assert [point.win_rate for point in curves.read([tmp_path / "both.csv"])[KEY][-4:]] == [0.8, 0.6, 0.5, 0.4]
    assert picture.stat().st_size > 5_000


def test_runs_with_other_settings_have_a_name_of_their_own(tmp_path: Path) -> None:
    make_run(tmp_path / "priced")
    make_run(tmp_path / "free", algorithm_keys={"alpha": 0})
    table = tmp_path / "priced.csv"
    curves.write(curves.read([tmp_path / "priced"]), table)
    found = curves.read([table, tmp_path / "free"], name="mipi, alpha 0")
    assert list(found) == [KEY, ("marines", "mipi, alpha 0", 0)]
    curves.write(found, tmp_path / "both.csv")
    assert list(curves.read([tmp_path / "both.csv"])) == list(found)


def test_a_curve_is_over_the_teams_that_every_evaluation_plays(tmp_path: Path) -> None:
    make_run(tmp_path, shares=(0.8, 0.6, 0.5, 0.4))
    ((_, points),) = curves.read([tmp_path]).items()
    fewer = [point for point in points if point.evaluation in ("training", "6") or point.frames in (0, 1000)]
    assert [score for _, score in curves.curve(fewer, held_out=True)] == pytest.approx([0.0, 0.3, 0.6, 0.6])


def test_other_files_and_folders_without_runs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="expected a table of this script with the columns environment, algorithm, "):
        curves.read([tmp_path / "other.csv"])
    make_run(tmp_path, finished=False)
    with pytest.raises(UserError, match="expected finished runs or a table of this script, got none in"):
        curves.read([tmp_path])


def test_runs_without_win_rates_or_held_out_teams_are_refused(tmp_path: Path) -> None:
    make_run(tmp_path / "a", shares=(0.8,))
    make_run(tmp_path / "b", winnable=False)
    for name in "ab":
        with pytest.raises(UserError, match="expected runs with win rates on training and held-out teams, got "):
            curves.read([tmp_path / name])


def test_a_table_without_held_out_teams_is_refused(tmp_path: Path) -> None:
    make_run(tmp_path, shares=(0.8, 0.6, 0.5, 0.4))
    ((key, points),) = curves.read([tmp_path]).items()
    curves.write({key: [point for point in points if point.evaluation == "training"]}, table := tmp_path / "some.csv")
    with pytest.raises(
        UserError, match=r"training and held-out teams, got marines, mipi, 0 in .*some\.csv; leave it out"
    ):
        curves.read([table])


@pytest.mark.parametrize("content", [None, "policy,level,frames\ngreedy,all,x\n"])
def test_a_run_whose_evaluations_cannot_be_read_is_refused(content: str | None, tmp_path: Path) -> None:
    evaluations = make_run(tmp_path) / "evaluations.csv"
    evaluations.unlink()
    if content is not None:
        evaluations.write_text(content)
    with pytest.raises(UserError, match=r"cannot read .*evaluations\.csv .*leave it out"):
        curves.read([tmp_path])

from __future__ import annotations

import csv
import math
from itertools import product
from pathlib import Path

import numpy as np
import torch
from matplotlib.image import imread

from mipi_pl.envs.composition import Composition
from mipi_pl.evaluation.curve import Point, read_curve
from mipi_pl.evaluation.figures import draw_curve, draw_evaluation, draw_run, draw_teams
from mipi_pl.evaluation.generalization import Result
from mipi_pl.evaluation.results_table import Table
from mipi_pl.evaluation.rollout import Episodes
from mipi_pl.evaluation.statistics import Estimate, wilson
from mipi_pl.evaluation.style import legend_below, new_figure, wrapped
from mipi_pl.evaluation.tables import (
    append_csv,
    as_text,
    comparison_table,
    detail_table,
    fault_notes,
    rows_of,
    text_table,
    write_csv,
)
from mipi_pl.reporting.curves import Curve
from mipi_pl.reporting.pictures import Panel, learning_curves


def result(
    name: str,
    sizes: tuple[int, ...],
    wins: int = 3,
    winnable: bool = True,
    faults: int = 0,
    types: tuple[str, ...] = ("marine",),
) -> Result:
    compositions = [Composition(((type_, size),)) for size, type_ in product(sizes, types)]
    composition = torch.arange(12) % len(compositions)
    number, length = torch.arange(12), torch.full((12,), 20)
    played = Episodes(torch.full((12,), 7.5), number < wins, length, composition, number >= 12 - faults)
    return Result.from_episodes(name, compositions, played, winnable)


TRAINED = [result("training", (3, 4, 5), 9), result("6", (6,), 6)]
UNTRAINED = [result("training", (3, 4, 5), 0), result("6", (6,), 0)]


def test_the_comparison_has_a_row_for_each_evaluation_and_a_column_for_each_policy() -> None:
    lines = comparison_table({"trained": TRAINED, "untrained": UNTRAINED}).splitlines()
    assert len(lines) == 4
    assert lines[0].split("  ")[-1] == "untrained"
    assert lines[2].startswith("3-5 (as trained)")
    assert "0.75 [0.47, 0.91]" in lines[2]
    assert lines[3].split()[0] == "6"


def test_the_detail_lists_sizes_and_compositions() -> None:
    text = detail_table([result("training", (3, 4), types=("marine", "marauder")), result("6", (6,))])
    assert "  4 agents" in text
    assert "  4 marine" in text
    assert "6 marine" not in text, "a single composition is the total"


def test_the_detail_does_not_list_a_size_beside_its_only_composition() -> None:
    text = detail_table(TRAINED)
    assert "  4 marine" in text
    assert "4 agents" not in text


def test_faults_are_told_of_the_evaluations_that_had_any() -> None:
    met, none = result("6", (6,), faults=2), result("training", (3, 4, 5))
    assert (met.as_dict()["cut_short"], none.as_dict()["cut_short"]) == (2, 0)
    (note,) = fault_notes({"trained": [none, met], "random": [none]})
    assert note.startswith("note: trained, 6: episodes cut short by faults of the world: 2 of 12; ")


def test_where_nothing_is_won_the_return_takes_the_place_of_the_win_rate(tmp_path: Path) -> None:
    trained = [result("training", (3, 4), winnable=False), result("6", (6,), winnable=False)]
    header, _, row, _ = comparison_table({"trained": trained, "random": trained}).splitlines()
    assert header.split() == ["teams", "return", "trained", "[95", "%]", "episodes", "random"]
    assert row.split() == ["3-4", "(as", "trained)", "7.5", "12", "7.5"], "equal returns have no interval"
    assert "win" not in detail_table(trained)
    rows = [{"frames": 100, **row} for row in rows_of("greedy", trained)]
    assert not any("win" in key for row in rows for key in row)
    append_csv(tmp_path / "evaluations.csv", rows)
    points = read_curve(tmp_path / "evaluations.csv")
    assert [(point.value.value, point.measure) for point in points] == [(7.5, "return")] * 2
    draw_run(tmp_path / "run.png", "a run", points, {"trained": trained, "random": trained})
    assert imread(tmp_path / "run.png").std() > 0.05


def test_an_estimate_is_written_with_its_interval_and_sign() -> None:
    for found, signed, text in (
        (wilson(0, 3), False, "0.00 [0.00, 0.56]"),
        (Estimate(0.25, -0.001, 0.5), True, "+0.25 [0.00, +0.50]"),
        (Estimate(-0.25, math.nan, math.nan), True, "-0.25"),
        (Estimate(7.5, 7.5, 7.5), False, "7.50"),
    ):
        assert as_text(found, 2, signed) == text


def test_a_table_for_python_shows_what_the_command_line_shows() -> None:
    for results, cells in (
        ([result("6", (6,), winnable=False)], ["7.5"]),  # equal returns, as those of a single episode
        (TRAINED, ["0.75 [0.47, 0.91]", "0.50 [0.25, 0.75]"]),
    ):
        table = Table(rows_of("trained", results), Path())
        assert [line.split("  ", 1)[1].strip() for line in str(table).splitlines()[2:]] == cells
        assert all(f"<td>{cell}</td>" in table._repr_html_() for cell in cells)
        assert all(cell in comparison_table({"trained": results}) for cell in cells)


def test_columns_that_do_not_fit_stand_below() -> None:
    text = text_table(["teams", "first", "second", "third"], [["3-5", "1", "2", "3"]], 20)
    assert text.split("\n\n") == [
        "teams  first  second\n-----  -----  ------\n3-5        1       2",
        "teams  third\n-----  -----\n3-5        3",
    ]
    names = ("trained", "untrained", "random", "attack_nearest", "focus_fire")
    assert max(map(len, comparison_table(dict.fromkeys(names, TRAINED)).splitlines())) <= 80


def test_columns_are_aligned_and_plain() -> None:
    text = text_table(["a", "bb"], [["long", "1"], ["x", "22"]])
    assert text == "a     bb\n----  --\nlong   1\nx     22"
    assert text.isascii()


def test_csv_files_can_be_read_back(tmp_path: Path) -> None:
    rows = rows_of("trained", TRAINED)
    write_csv(tmp_path / "whole.csv", rows)
    append_csv(tmp_path / "parts.csv", rows[:2])
    append_csv(tmp_path / "parts.csv", rows[2:])
    assert (tmp_path / "whole.csv").read_text() == (tmp_path / "parts.csv").read_text()
    with (tmp_path / "whole.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert len(read) == len(rows) == 1 + 3 + 3 + 1 + 1 + 1


def test_the_curve_is_read_from_the_rows_of_whole_evaluations(tmp_path: Path) -> None:
    append_csv(tmp_path / "evaluations.csv", [{"frames": 100, **row} for row in rows_of("greedy", TRAINED)])
    points = read_curve(tmp_path / "evaluations.csv")
    assert [(point.frames, point.evaluation, point.value.value) for point in points] == [
        (100, "training", 0.75),
        (100, "6", 0.5),
    ]
    assert read_curve(tmp_path / "nothing.csv") == []


def test_pictures_are_drawn(tmp_path: Path) -> None:
    points = [Point(frames, name, wilson(frames // 10, 10)) for frames in (0, 50, 100) for name in ("training", "6")]
    policies = dict.fromkeys(("trained", "untrained", "random", "attack_nearest", "focus_fire"), TRAINED)
    draw_run(tmp_path / "run.png", "a run", points, policies)
    draw_evaluation(tmp_path / "eval.png", "an evaluation", {"trained": TRAINED[1:]})
    for name in ("run.png", "eval.png"):
        image = imread(tmp_path / name)
        assert image.shape[0] > 300
        assert image.std() > 0.05, "not blank"


def test_the_final_evaluation_is_marked_apart_from_the_curve_and_baselines_are_lines() -> None:
    figure = new_figure(6.2, 4.6)
    axes = figure.add_subplot()
    end = TRAINED[0].total.headline
    line = [Point(frames, "training", wilson(frames // 10, 10)) for frames in (0, 50, 100)]
    entries = draw_curve(axes, [*line, Point(100, "training", end)], TRAINED)
    curve, diamond = (
        artist for artist in axes.lines if len(artist.get_xdata()) in (3, 1) and artist.get_marker() in "oD"
    )
    assert list(curve.get_ydata()) == [0.0, 0.5, 1.0]
    assert list(diamond.get_ydata()) == [end.value]
    assert diamond.get_xdata()[0] > 0.1, "to the right of the last point"
    assert [text for text, _ in entries] == ["training teams"]
    axes = figure.add_subplot()
    draw_teams(axes, {"trained": TRAINED, "random": UNTRAINED})
    assert not axes.patches, "no bars"
    (lines,) = (artist for artist in axes.collections if len(artist.get_paths()) == 4)
    assert [path.vertices[0, 1] for path in lines.get_paths()] == [0.0] * 4


def test_a_size_that_was_trained_on_too_has_the_lines_of_its_own_evaluation() -> None:
    axes = new_figure(5, 4).subplots()
    again, scripted = result("5", (5,), 3), [result("training", (3, 4, 5), 0), result("5", (5,), 12)]
    draw_teams(axes, {"trained": [TRAINED[0], again], "random": scripted})
    (lines,) = (artist for artist in axes.collections if len(artist.get_paths()) == 4)
    heights = [(round(path.vertices[:, 0].mean()), path.vertices[0, 1]) for path in lines.get_paths()]
    assert heights == [(0, 0.0), (1, 0.0), (2, 0.0), (3, 1.0)]
    assert [text.get_text() for text in axes.texts] == ["trained on", "others"]


def test_a_legend_of_any_number_of_long_names_fits() -> None:
    for number, length in product((1, 7, 40), (3, 30, 200)):
        figure = new_figure(6.4, 4.0)
        axes = figure.add_subplot()
        lines = [(f"{'x' * length} {k}", axes.plot([0, 1], [0, k])[0]) for k in range(number)]
        legend = legend_below(figure, lines)
        assert legend is not None
        figure.canvas.draw()
        box, panel = legend.get_window_extent(), axes.get_window_extent()
        assert 0 <= box.x0 < box.x1 <= figure.bbox.width
        assert 0 <= box.y0 < box.y1 < panel.y0
        assert panel.height > 300, "of 400 pixels without a legend"


def test_a_dollar_in_a_name_is_a_dollar() -> None:
    curve = Curve(*(np.array([float(low), 1.0]) for low in range(4)))
    learning_curves([Panel("teams at $5 to $9", {"cost $a_{$ b": curve}, references={"$x_{$": 0.5})], "win rate")


def test_long_names_are_wrapped_where_a_reader_would() -> None:
    assert wrapped("mipi_ppo [experiment=cpu, alpha=0.1]", 16) == "mipi_ppo [\nexperiment=cpu,\nalpha=0.1]"
    assert wrapped("a_long_name", 7) == "a_long_\nname"
    assert wrapped("x" * 10, 4) == "xxxx\nxxxx\nxx"
    assert wrapped("", 4) == ""


def test_an_empty_curve_is_drawn_too(tmp_path: Path) -> None:
    draw_run(tmp_path / "run.png", "a run", [], {"trained": TRAINED})
    assert (tmp_path / "run.png").exists()

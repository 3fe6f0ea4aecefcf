from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from itertools import permutations, product
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from run_folders import make_run, results
from scipy import stats

from mipi_pl.cli import main
from mipi_pl.evaluation import seeds
from mipi_pl.evaluation.seeds import mean_probability_of_improvement
from mipi_pl.evaluation.statistics import wilson
from mipi_pl.evaluation.tables import comparison_table
from mipi_pl.reporting.curves import interquartile_curve, mean_curve, played_while_learning
from mipi_pl.reporting.document import Code, Filter, Heading, Notes, Paragraph, Picture, Table, as_html, as_markdown
from mipi_pl.reporting.groups import settings, worlds_of
from mipi_pl.reporting.missing import missing_from
from mipi_pl.reporting.runs import find_runs, read_run
from mipi_pl.reporting.sections import _curves, by_chance, compositions
from mipi_pl.storage.extended import Extension, record


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Three seeds of two algorithms."""
    for seed in range(3):
        make_run(tmp_path / "runs", "mipi", seed, (0.9, 0.6 + 0.05 * seed, 0.5, 0.4))
        make_run(tmp_path / "runs", "refil", seed, (0.8, 0.5, 0.4, 0.3))
    return tmp_path / "runs"


def report_of(runs: Path, output: Path) -> str:
    assert main(["report", str(runs), "--output-dir", str(output)]) == 0
    (folder,) = output.iterdir()
    return (folder / "report.md").read_text()


def test_a_complete_set_of_runs_has_nothing_missing(tmp_path: Path) -> None:
    for seed, algorithm in product(range(3), ("mipi", "refil")):
        make_run(tmp_path / "runs", algorithm, seed, (0.9, 0.7, 0.5 - 0.05 * seed, 0.4 + 0.05 * seed))
    text = report_of(tmp_path / "runs", tmp_path / "out")
    assert "all seeds of mipi have the same score in training, 6: intervals (†) cover only episodes" in text
    for seed, algorithm in product(range(3), ("mipi", "refil")):
        shares = tuple(share - 0.05 * seed for share in (0.9, 0.7, 0.5, 0.4))
        make_run(tmp_path / "others", algorithm, seed, shares, episodes=100)
    text = report_of(tmp_path / "others", tmp_path / "out_of_others")
    assert "nothing is missing" in text
    (row,) = (line for line in text.splitlines() if line.startswith("| mipi | 0.85"))
    low, high = stats.t.interval(0.95, 2, loc=0.85, scale=0.05 / np.sqrt(3))
    assert row.startswith(f"| mipi | 0.85 \\[{low:.2f}, {high:.2f}\\] |"), "win rates of the training teams"


def test_intervals_of_one_seed_are_those_of_the_terminal(tmp_path: Path) -> None:
    make_run(tmp_path / "runs", "mipi", 0, (0.0, 1 / 3, 0.0, 1.0), episodes=3)
    make_run(tmp_path / "runs", "refil", 0, (0.0, 1 / 3, 0.0, 1.0), episodes=3)
    text = report_of(tmp_path / "runs", tmp_path / "out").replace("\\", "")
    printed = comparison_table({"trained": results((0.0, 1 / 3, 0.0, 1.0), 3)})
    cells = re.findall(r"\d\.\d\d \[\d\.\d\d, \d\.\d\d\]", printed)
    assert cells[0] == "0.00 [0.00, 0.56]", "none of three"
    assert f"| mipi | {' | '.join(f'{cell} †' for cell in cells)} |" in text
    assert "mipi, refil have 1 seed, fewer than 3: the spread is unknown, and intervals (†) cover only" in text
    assert "mipi, refil were evaluated in only 3 episodes per team and seed: a win rate is known to about ±0.37" in text
    assert "nan" not in text


def test_a_report_has_all_sections(runs: Path, tmp_path: Path) -> None:
    text = report_of(runs, tmp_path / "out")
    (folder,) = (tmp_path / "out").iterdir()
    for section in (
        "While learning",
        "Interquartile mean and performance profile",
        "By team size",
        "Generalization gap",
        "Probability of improvement",
        "Runs",
    ):
        assert f"# {section}\n" in text
    (row,) = (line for line in text.splitlines() if line.startswith("| mipi | 3 |"))
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    # frames and hours of three seeds; (0.5 + 0.5167 + 0.5333) / 3 and their standard deviation
    assert cells[:5] == ["mipi", "3", "3,009", "3.00", "0.52 ± 0.02"]
    assert "| mipi | -0.25 " in text, "the gap of teams of 6: 0.65 - 0.9"
    assert "Plus is better" in text
    assert "| mipi | - | 1.00 " in text, "every seed is better than every other one"
    assert "with 3 against 3" in text
    assert "mipi train algorithm=mipi seed=2  # commit " + "c" * 40 in text
    pictures = re.findall(r"\]\((.*?\.svg)\)", text)
    assert len(pictures) == 5
    assert all(ElementTree.parse(folder / name).getroot().tag.endswith("svg") for name in pictures)


def test_algorithms_are_compared_over_all_environments_that_have_both(tmp_path: Path) -> None:
    held_out = {"sz": (0.6, 0.5), "csz": (0.4, 0.5)}  # mipi, refil: better in the one, worse in the other
    for (env, rates), seed in product(held_out.items(), range(3)):
        for algorithm, rate in zip(("mipi", "refil"), rates, strict=True):
            make_run(tmp_path / "runs", algorithm, seed, (0.9, rate, rate, rate), environment=env)
    make_run(tmp_path / "runs", "vdn", 0, (0.9, 0.5, 0.5, 0.5), environment="sz")
    for env, alpha in product(held_out, (1, 2)):  # many long differences, so that the label is a letter
        keys = {f"a_setting_with_a_long_name_{number}": alpha for number in range(5)}
        make_run(
            tmp_path / "runs",
            "value",
            0,
            (0.9, 0.5, 0.5, 0.5),
            environment=env,
            algorithm_keys=keys,
            time=f"2026-01-0{alpha}_00-00-00",
        )
    text = report_of(tmp_path / "runs", tmp_path / "out").replace("\\", "")
    section = text[text.index("## All environments") : text.index("## Runs")]
    both = mean_probability_of_improvement([(np.ones((3, 1)), np.zeros((3, 1))), (np.zeros((3, 1)), np.ones((3, 1)))])
    assert f"| mipi | - | 0.50 [{both.low:.2f}, {both.high:.2f}] |" in section
    assert "vdn" not in section
    assert "value" not in section, "value A of one environment has nothing to do with that of another"
    assert "does not have the same settings" not in section
    assert 0 < both.low < 0.4


def test_settings_that_differ_between_environments_are_named_and_one_seed_gives_no_interval(tmp_path: Path) -> None:
    for env, algorithm in product(("sz", "csz"), ("mipi", "refil")):
        keys = {"alpha": 0.2 if (env, algorithm) == ("csz", "mipi") else 0.1}
        make_run(tmp_path / "runs", algorithm, 0, (0.9, 0.6, 0.5, 0.4), environment=env, algorithm_keys=keys)
    make_run(tmp_path / "runs", "mipi", 0, (0.9,), environment="no_held_out_teams")
    text = report_of(tmp_path / "runs", tmp_path / "out").replace("\\", "")
    section = text[text.index("## All environments") : text.index("## Runs")]
    assert "| mipi | - | 0.50 |" in section
    assert "mipi does not have the same settings in all environments: algorithm.alpha." in section
    assert "no_held_out_teams" not in section
    assert "nan" not in section


def test_one_environment_has_no_comparison_over_all(runs: Path, tmp_path: Path) -> None:
    assert "All environments" not in report_of(runs, tmp_path / "out")


@pytest.mark.parametrize(("seeds", "others"), [(1, 1), (2, 3), (3, 3)])
def test_how_often_chance_gives_the_clearest_order_is_that_of_all_orders(seeds: int, others: int) -> None:
    orders = list(permutations(range(seeds + others)))
    clear = sum(min(order[:seeds]) > max(order[seeds:]) for order in orders)
    assert f"with {seeds} against {others} seeds," in by_chance(seeds, others)
    assert f"once in {len(orders) // clear} comparisons" in by_chance(seeds, others)


class Page(HTMLParser):
    """What is open, what is fetched, and all ids."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.open: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for key, value in attrs if key in ("src", "href", "xlink:href")]
        self.ids += [value or "" for key, value in attrs if key == "id"]
        if tag not in ("meta", "input", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_fetches_nothing(runs: Path, tmp_path: Path) -> None:
    assert main(["report", str(runs), "--output-dir", str(tmp_path / "out"), "--title", "<b> & more"]) == 0
    text = next((tmp_path / "out").glob("*/report.html")).read_text()
    page = Page()
    page.feed(text)
    assert page.open == []
    assert text.count("<svg") == 5
    assert len(set(page.ids)) == len(page.ids)
    inside = {*page.fetched, *re.findall(r"url\(([^)]*)\)", text)}
    embedded = {source for source in inside if source.startswith("data:image/png;base64,")}
    assert {source.lstrip("#") for source in inside - embedded} <= set(page.ids), "colours of a heat map are a picture"
    assert "@import" not in text
    assert "<h1>&lt;b&gt; &amp; more</h1>" in text


def test_equal_runs_give_equal_reports(runs: Path, tmp_path: Path) -> None:
    for _ in range(2):
        assert main(["report", str(runs), "--output-dir", str(tmp_path / "out")]) == 0
    one, other = (tmp_path / "out").iterdir()
    assert {path.name for path in one.iterdir()} == {path.name for path in other.iterdir()}
    assert all(path.read_bytes() == (other / path.name).read_bytes() for path in one.iterdir())


def test_what_weakens_a_comparison_is_said(tmp_path: Path) -> None:
    make_run(tmp_path, "mipi", 0)
    make_run(tmp_path, "mipi", 1)
    make_run(tmp_path, "mipi", 1, time="2026-01-02_00-00-00")
    make_run(tmp_path, "mappo", 0, total_frames=4000, commit="d" * 40 + "-dirty")
    make_run(tmp_path, "refil", 0, (0.9, 0.5, 0.5), episodes=40)
    make_run(tmp_path, "value", 0, finished=False)
    (make_run(tmp_path, "entropy", 0) / "results.json").write_text("{")
    make_run(tmp_path, "mipi", 0, environment="sz")
    runs = find_runs([tmp_path])
    text = "\n".join(missing_from(runs, worlds_of(runs)))
    for sentence in (
        "different worlds (marines; sz): at most a probability of improvement is averaged over them",
        "marines: mipi has 2 seeds, fewer than 3",
        "marines: mappo, refil have 1 seed, fewer than 3: the spread is unknown, and intervals (†) cover only episodes",
        "marines: mappo, mipi were evaluated in only 20 episodes per team and seed: a win rate is known to about ±0.20",
        "marines: different seeds: mappo 0; mipi 0, 1; refil 0",
        "marines: unequal budgets: mappo 4,000 frames; mipi 1,000 frames; refil 1,000 frames",
        "marines: unequal evaluation episodes: mappo 20; mipi 20; refil 40",
        "marines: mappo, mipi have played 8, but some other runs have not: not compared",
        "marines: runs come from 2 commits: cccccccccc, dddddddddd-dirty",
        "uncommitted changes",
        "marines__mipi__1/2026-01-01_00-00-00: ignored, because another run of this seed is used",
        "marines__value__0/2026-01-01_00-00-00: ignored, because it was interrupted",
        "marines__entropy__0/2026-01-01_00-00-00: ignored; results.json is damaged",
    ):
        assert sentence in text
    assert main(["report", str(tmp_path), "--output-dir", str(tmp_path / "out")]) == 0


def test_the_error_of_a_win_rate_is_not_stated_of_returns(tmp_path: Path) -> None:
    for environment, winnable in (("battles", True), ("collecting", False)):
        make_run(tmp_path, environment=environment, winnable=winnable)
    runs = find_runs([tmp_path])
    few = [line for line in missing_from(runs, worlds_of(runs)) if "in only 20 episodes per team and seed" in line]
    assert ["are enough for ±0.10" in line for line in few] == [True, False]
    assert few[1].endswith("(held_out.episodes)")


def test_runs_that_ended_before_their_budget_are_named_and_have_a_group_of_their_own(tmp_path: Path) -> None:
    make_run(tmp_path, "mipi", 0, total_frames=10_000_000)
    short = [make_run(tmp_path, "mipi", seed, total_frames=10_000_000) for seed in (1, 2)]
    for folder in short:
        content = json.loads((folder / "results.json").read_text())
        (folder / "results.json").write_text(json.dumps({**content, "frames": 200_000}))
    runs = find_runs([tmp_path])
    text = "\n".join(missing_from(runs, worlds_of(runs)))
    assert "marines: unequal budgets: mipi 200,000, 10,000,000 frames" in text
    assert "marines: mipi ended early, at 200,000 of 10,000,000 frames (total_frames)" in text
    for folder in short:
        with (folder / "config.yaml").open("a") as file:
            file.write("trainer: {max_time: '00:01:00:00'}")
    (world,) = worlds_of(find_runs([tmp_path]))
    assert [len(group.runs) for group in world.groups] == [1, 2]


def test_a_copy_of_a_run_under_another_name_does_not_take_its_place(tmp_path: Path) -> None:
    run = make_run(tmp_path / "runs", "mipi", 0, time="2026-01-02_00-00-00")
    make_run(tmp_path / "runs", "mipi", 0, time="2026-01-01_00-00-00")
    shutil.copytree(run, tmp_path / "mixed" / "marines__mipi__9")
    shutil.copytree(run, run.with_name(f"{run.name} (copy)"))
    torn = make_run(tmp_path / "later", "mipi", 0, time="2026-01-03_00-00-00")
    (torn / "evaluations.csv").unlink()
    (world,) = worlds_of(find_runs([tmp_path]))
    assert [run.folder for group in world.groups for run in group.runs] == [run]
    assert len(world.duplicates) == 4
    newer = make_run(tmp_path / "runs", "mipi", 0, time="2026-01-02_00-00-00-2")
    (world,) = worlds_of(find_runs([tmp_path]))
    assert [run.folder for group in world.groups for run in group.runs] == [newer]


def test_runs_are_seeds_of_each_other_only_if_nothing_else_differs(tmp_path: Path) -> None:
    make_run(tmp_path / "a", "mipi", 0)
    make_run(tmp_path / "a", "mipi", 1)
    make_run(tmp_path / "b", "mipi", 0, algorithm_keys={"alpha": 0.5})
    make_run(tmp_path / "c", "mipi", 0, env={"enemy_delta": 0})
    (make_run(tmp_path / "d", "mipi", 0) / "config.yaml").unlink()
    worlds = {world.label: [group.label for group in world.groups] for world in worlds_of(find_runs([tmp_path]))}
    assert worlds == {
        "marines [enemy_delta=-1]": ["mipi [alpha=0.1]", "mipi [alpha=0.5]"],
        "marines [enemy_delta=0]": ["mipi"],
        "marines [config unreadable]": ["mipi"],
    }


def test_callbacks_that_affect_learning_tell_algorithms_apart(tmp_path: Path) -> None:
    """Those of a user's own may; those that only watch, save or stop a run do not."""
    for seed, callbacks in enumerate(({}, {"own": {"_target_": "own.Noise"}}, {"progress": {"every_s": 5}})):
        with (make_run(tmp_path, "mipi", seed) / "config.yaml").open("a") as file:
            file.write(f"callbacks: {json.dumps(callbacks)}\n")
    (world,) = worlds_of(find_runs([tmp_path]))
    assert [[run.seed for run in group.runs] for group in world.groups] == [[0, 2], [1]]


def test_a_run_that_was_trained_longer_is_no_seed_of_a_longer_run(tmp_path: Path) -> None:
    """Its learning rates decayed twice."""
    make_run(tmp_path / "short", "mipi", 0, total_frames=100)
    make_run(tmp_path / "long", "mipi", 1, total_frames=300)
    for seed in (2, 3):
        record(make_run(tmp_path / "extended", "mipi", seed, total_frames=100), Extension(300, (100,)))
    runs = find_runs([tmp_path])
    assert {run.seed: run.budget for run in runs} == {0: 100, 1: 300, 2: 300, 3: 300}
    (world,) = worlds_of(runs)
    assert sorted([run.seed for run in group.runs] for group in world.groups) == [[0], [1], [2, 3]]
    longer = next(run.folder for run in runs if run.seed == 2)
    (longer / "extended.json").write_text("{}")
    damaged = read_run(longer)
    assert damaged.budget == 100
    assert any("extended.json is damaged" in problem for problem in damaged.problems)


def test_the_commit_at_which_a_run_was_resumed_counts(tmp_path: Path) -> None:
    folder = make_run(tmp_path, commit="a" * 40)
    content = json.loads((folder / "results.json").read_text())
    for resumptions, said in (
        ([{"updates": 3, "commit": "a" * 40}], []),
        ([{"updates": 3, "commit": "b" * 40}, "?"], ["runs come from 3 commits: aaaaaaaaaa, bbbbbbbbbb, unknown"]),
    ):
        (folder / "results.json").write_text(json.dumps({**content, "resumptions": resumptions}))
        runs = find_runs([tmp_path])
        found = [line.partition(": ")[2] for line in missing_from(runs, worlds_of(runs)) if "commits" in line]
        assert found == said


def test_a_whole_number_is_the_same_setting_as_an_integer_and_as_a_float(tmp_path: Path) -> None:
    for seed, alpha in enumerate((0, 0.0)):
        make_run(tmp_path, "mipi", seed, algorithm_keys={"alpha": alpha, "betas": [alpha, 0.5]})
    (world,) = worlds_of(find_runs([tmp_path]))
    assert [len(group.runs) for group in world.groups] == [2]


def test_arguments_of_a_world_of_ones_own_count_whatever_their_names_are(tmp_path: Path) -> None:
    for workers, seed in ((3, 0), (9, 0), (9, 1)):
        make_run(tmp_path / str(workers), seed=seed, env={"workers": workers, "parallel": seed})
    worlds = worlds_of(find_runs([tmp_path]))
    assert [(len(world.runs), world.duplicates) for world in worlds] == [(1, ()), (2, ())]
    assert settings({"datamodule": {"workers": 3, "make_env": {"workers": 3}}}, ["datamodule"]) == ()


def test_seeds_of_a_world_tell_worlds_apart(tmp_path: Path) -> None:
    for seed in range(2):
        for split in range(2):
            make_run(tmp_path / str(split), seed=seed, env={"split": {"share": 0.2, "seed": split}})
    worlds = worlds_of(find_runs([tmp_path]))
    assert [len(world.runs) for world in worlds] == [2, 2]
    assert [world.duplicates for world in worlds] == [(), ()]
    one, other = ({"held_out": {"seed": number}, "seed": number, "datamodule": {"seed": number}} for number in (1, 2))
    assert settings(one, ["held_out"]) != settings(other, ["held_out"])
    assert settings(one, ["seed", "datamodule"]) == settings(other, ["seed", "datamodule"]) == ()


def test_a_number_of_the_world_that_equals_the_budget_is_no_budget(tmp_path: Path) -> None:
    make_run(tmp_path, "mipi", 0, total_frames=20, env={"best_return": 20.0, "size": 20})
    make_run(tmp_path, "refil", 0, total_frames=1000, env={"best_return": 20.0, "size": 20})
    assert [world.label for world in worlds_of(find_runs([tmp_path]))] == ["marines"]


def test_a_curve_is_the_mean_over_seeds_and_teams(runs: Path) -> None:
    (world,) = worlds_of(find_runs([runs]))
    curve = mean_curve(world.groups[0], world.held_out, world.bounds)
    assert curve is not None
    assert curve.frames.tolist() == [0, 500, 1000]
    expected = np.mean([[0.6, 0.5, 0.4], [0.65, 0.5, 0.4], [0.7, 0.5, 0.4]])
    assert curve.value[[0, 2]] == pytest.approx([0.0, expected])
    assert curve.low[0] == 0.0
    # Before training no seed wins anything: nine times none of 20, whose ends are added in squares.
    assert curve.high[0] == pytest.approx(wilson(0, 20).high / 3)
    assert (curve.low <= curve.value).all()
    assert (curve.value <= curve.high).all()
    assert mean_curve(world.groups[0], ("nothing",)) is None
    middle = interquartile_curve(world.groups[0], world.held_out, world.bounds)
    assert middle is not None
    scores = np.array([[0.6, 0.5, 0.4], [0.65, 0.5, 0.4], [0.7, 0.5, 0.4]])
    assert middle.value[-1] == pytest.approx(stats.trim_mean(scores.ravel(), 0.25))
    assert middle.high[-1] == seeds.interquartile_mean_over_seeds(scores, (0, 1)).high


def test_the_final_evaluation_is_no_point_of_the_curve(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path))
    assert [point.frames for point in run.curve if point.evaluation == "6"] == [0, 500, 1000, 1000]
    assert [point.frames for point in run.points("6")] == [0, 500, 1000]


def test_curves_are_of_the_teams_that_played_while_learning(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    lines = (folder / "evaluations.csv").read_text().splitlines(keepends=True)
    lines = [line for line in lines if not line.startswith("500,") or (",7," not in line and ",8," not in line)]
    # Without its repetitions, the last evaluation is the final one alone.
    (folder / "evaluations.csv").write_text("".join(dict.fromkeys(lines)))
    (world,) = worlds_of(find_runs([tmp_path]))
    assert world.runs[0].held_out() == pytest.approx({0: 0.0, 500: 0.3, 1000: 0.6}), "of the teams of 6 alone"
    assert played_while_learning(world.runs, world.held_out) == ("6",)
    heading, picture = _curves(world, "marines")
    assert isinstance(heading, Heading)
    assert isinstance(picture, Picture)
    assert picture.caption.endswith("While learning, of the held-out teams only 6 played in all runs.")


def test_the_training_teams_are_named_by_the_sizes_that_were_trained_on(tmp_path: Path) -> None:
    make_run(tmp_path)
    (world,) = worlds_of(find_runs([tmp_path]))
    assert world.sizes_of("training") == "3-5, trained"
    del world.runs[0].policies["trained"]["training"].by_size[4]  # type: ignore[attr-defined]
    assert world.sizes_of("training") == "3, 5, trained"


def test_compositions_are_pooled_over_seeds(runs: Path) -> None:
    (world,) = worlds_of(find_runs([runs]))
    labels, episodes, values = compositions(world)
    assert labels == [f"{size} marine" for size in range(3, 9)]
    assert episodes[3].tolist() == [60, 60]
    assert values[3] == pytest.approx([0.65, 0.5])


def test_a_composition_that_several_evaluations_play_is_a_row_of_each(tmp_path: Path) -> None:
    make_run(tmp_path)
    (world,) = worlds_of(find_runs([tmp_path]))
    trained = world.runs[0].policies["trained"]
    ((_, tally),) = trained["7"].by_composition.values()
    trained["outnumbered"] = replace(trained["6"], by_composition={"6 marine": (6, tally)})
    labels, _, values = compositions(replace(world, evaluations=(*world.evaluations, "outnumbered")))
    assert labels == ["3 marine", "4 marine", "5 marine", "6 marine (6)", "6 marine (outnumbered)", *labels[5:]]
    assert labels[5:] == ["7 marine", "8 marine"]
    assert values[3:5, 0] == pytest.approx([0.6, 0.5])


def test_a_run_without_compositions_is_reported_without_them(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "runs")
    content = json.loads((folder / "results.json").read_text())
    for evaluation in (content["training"], *content["held_out"].values()):
        evaluation["by_composition"] = {}
    (folder / "results.json").write_text(json.dumps(content))
    assert main(["report", str(tmp_path / "runs"), "--output-dir", str(tmp_path / "reports")]) == 0
    (page,) = (tmp_path / "reports").glob("*/report.md")
    assert "No run has results by composition." in page.read_text()


def test_returns_are_reported_where_nothing_is_won(tmp_path: Path) -> None:
    for seed in range(3):
        make_run(tmp_path / "runs", "mipi", seed, environment="resource_collection", winnable=False)
    assert main(["report", str(tmp_path / "runs"), "--output-dir", str(tmp_path / "out")]) == 0
    text = next((tmp_path / "out").glob("*/report.md")).read_text()
    assert "win rate" not in text
    assert "6.0 ± 0.0" in text, "half of the episodes return 10 and half 2, the mean of 6, 7, 8"
    teams = next((tmp_path / "out").glob("*/*_teams.svg")).read_text()
    assert re.search(r"teams of 6: \d\.\d \[", teams), "no difference, which would have a sign"


def test_a_command_that_is_no_text_is_shown_in_the_report(tmp_path: Path) -> None:
    """Such as a path in another encoding."""
    run = make_run(tmp_path / "runs")
    results = json.loads((run / "results.json").read_text())
    (run / "results.json").write_text(json.dumps({**results, "command": "mipi train output_dir=caf\udce9"}))
    assert main(["report", str(tmp_path / "runs"), "--output-dir", str(tmp_path / "out")]) == 0
    assert "caf\\udce9" in next((tmp_path / "out").glob("*/report.html")).read_text()


def test_mistakes_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "runs", finished=False)
    (tmp_path / "empty").mkdir()
    for words, message in (
        ([], "the following arguments are required: RUNS"),
        ([str(tmp_path / "nothing")], "does not exist"),
        ([str(tmp_path / "empty")], "no finished run in"),
        ([str(tmp_path / "runs")], "interrupted"),
    ):
        assert main(["report", *words]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert len(error.splitlines()) == 1


def test_both_forms_hold_all_blocks_and_no_markup_of_the_content() -> None:
    blocks = [
        Heading(2, "a_b"),
        Paragraph("1 < 2"),
        Notes(["[x]"]),
        Table(["a|b"], [["*"]], series=["<s>"]),
        Filter([("<s>", "#123456")]),
        Code(["mipi <x>"]),
        Picture("name", "<svg/>", 'a "quote"'),
    ]
    page, text = as_html(blocks), as_markdown(blocks)
    for part in (
        "<h2>a_b</h2>",
        "1 &lt; 2",
        "<li>[x]</li>",
        '<th scope="col">a|b</th>',
        'data-series="&lt;s&gt;"',
        "mipi &lt;x&gt;",
        "a &quot;quote&quot;",
    ):
        assert part in page
    for part in ("## a\\_b", "1 \\< 2", "> * \\[x\\]", "| a\\|b |", "    mipi <x>", '![a "quote"](name.svg)'):
        assert part in text

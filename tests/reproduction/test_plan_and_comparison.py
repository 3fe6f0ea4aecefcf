from __future__ import annotations

import csv
import html
import json
import shlex
from copy import deepcopy
from pathlib import Path

import pytest
from composed_configs import composed, leaves
from run_folders import make_run

from mipi_pl.cli import main
from mipi_pl.evaluation.worlds import worlds_of
from mipi_pl.reporting.runs import Run
from mipi_pl.reproduction import comparison
from mipi_pl.reproduction.plan import SCALES, TARGETS, Plan, make_plan
from mipi_pl.reproduction.work import Outlook, look, task_of
from mipi_pl.run.build import environment_factory, one_environment
from mipi_pl.run.config import check_train
from mipi_pl.storage.lock import lock
from mipi_pl.storage.run_folder import FAILURE
from mipi_pl.utils.errors import UserError


@pytest.mark.slow
def test_every_kind_of_run_of_every_plan_is_a_valid_training(tmp_path: Path) -> None:
    # Every method in one task of each plan, and every task with one method; what plans share is composed once.
    seen = set()
    for target in TARGETS:
        for scale in ("cpu",) if target in ("ablations", "ablations_ppo", "prices", "mixes") else ("cpu", "paper"):
            jobs = make_plan(target, scale, tmp_path).jobs
            for job in jobs:
                wanted = job.method == jobs[0].method or (scale == "cpu" and job.task not in ("CSZ", "MMM"))
                if wanted and job.overrides not in seen:
                    seen.add(job.overrides)
                    check_train(deepcopy(composed(*job.overrides)))  # fills in empty groups
    assert len(seen) > 20


@pytest.mark.parametrize(
    ("target", "runs"), [("table1", 18), ("table2", 18), ("table3", 18), ("figure2", 3), ("figure4", 6)]
)
def test_a_plan_has_a_run_for_every_row_and_seed(target: str, runs: int, tmp_path: Path) -> None:
    assert [len(make_plan(target, scale, tmp_path).jobs) for scale in SCALES] == [runs, 3 * runs, 5 * runs]
    assert len(make_plan(target, "paper", tmp_path, [7]).jobs) == runs


def test_each_ablation_changes_one_thing_of_the_protocol(tmp_path: Path) -> None:
    jobs = make_plan("ablations", "cpu", tmp_path, [0]).jobs
    protocol, *changed = (composed(*job.overrides) for job in jobs)
    assert jobs[0].method == "the protocol"
    assert protocol["total_frames"] * 2 == composed("experiment=cpu")["total_frames"]
    differences = [
        {key for key in leaves(protocol) | leaves(config) if leaves(protocol).get(key) != leaves(config).get(key)}
        for config in changed
    ]
    epsilon = {"datamodule.epsilon_frames", "datamodule.epsilon_end"}
    for job, keys in zip(jobs[1:], differences, strict=True):
        # `run` and `logger` have the algorithm in names of folders; `make_env` is `env` again.
        things = {key for key in keys if not key.startswith(("run.", "logger.")) and ".make_env." not in key}
        assert len(things) == 1 or (job.method, things) == ("exploration lasts longer and ends higher", epsilon), things
    assert len({frozenset(keys) for keys in differences}) == len(changed) - 1, "alpha alone is tried twice"


def test_each_change_to_mipi_ppo_changes_something_of_its_own(tmp_path: Path) -> None:
    configs = [leaves(composed(*job.overrides)) for job in make_plan("ablations_ppo", "cpu", tmp_path, [0]).jobs]
    for config in configs:
        for key in [key for key in config if key.startswith(("run.", "logger."))]:  # they have names of folders
            del config[key]
    assert len({tuple(sorted(map(repr, config.items()))) for config in configs}) == len(configs) == 18


def test_ablations_are_compared_with_each_other_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = make_plan("ablations", "smoke", tmp_path)
    fill(plan, {"the protocol": 0.5, "M 4": 0.6})
    words = ["--methods", "the protocol", "M 4", "--output-dir", str(tmp_path)]
    assert main(["reproduce", "ablations", "--scale", "smoke", *words]) == 0
    text = capsys.readouterr().out
    assert "0.60 ± ?" in text
    assert "game itself" not in text
    assert "pairs as in paper" not in text
    lines = [line for line in text.splitlines() if not line.startswith(("page ", "numbers "))]
    assert max(map(len, lines)) <= 80, "but for paths"


@pytest.mark.parametrize("target", ["table1", "table2", "table3"])
def test_every_number_of_the_paper_has_a_cell(target: str, tmp_path: Path) -> None:
    plan = make_plan(target, "smoke", tmp_path)
    cells = {(job.task, job.method, column) for job in plan.jobs for column in plan.columns}
    assert {cell for cell in cells if not cell[1].startswith("MIPI-PPO")} == set(plan.paper)


def test_the_papers_numbers_are_those_of_the_paper(tmp_path: Path) -> None:
    assert make_plan("table1", "smoke", tmp_path).paper["SZ", "MIPI", "6"] == (0.453, 0.08)
    assert make_plan("table2", "smoke", tmp_path).paper["MMM", "Entropy", "8"] == (0.075, 0.044)
    assert make_plan("table3", "smoke", tmp_path).paper["CSZ", "∞", "3-5"] == (0.506, 0.076)


def test_paper_scale_has_the_papers_temperatures_and_budgets(tmp_path: Path) -> None:
    plan = make_plan("table1", "paper", tmp_path)
    found = {
        task: composed(*next(j for j in plan.jobs if (j.task, j.method) == (task, "MIPI")).overrides)
        for task in plan.tasks
    }
    assert {task: config["algorithm"]["alpha"] for task, config in found.items()} == {
        "SZ": 0.03,
        "CSZ": 0.03,
        "MMM": 0.1,
    }
    for config in found.values():
        assert (config["total_frames"], config["algorithm"]["iterations"], config["held_out"]["episodes"]) == (
            10**7,
            4,
            160,
        )


def test_scale_cpu_has_the_protocols_own_temperature_in_every_task(tmp_path: Path) -> None:
    own = float(composed("experiment=cpu")["algorithm"]["alpha"])
    papers = {"SZ": 0.03, "CSZ": 0.03, "MMM": 0.1}
    for scale, alphas in (("cpu", dict.fromkeys(papers, own)), ("paper", papers)):
        for task, alpha in alphas.items():
            for name, method in (("table1", "MIPI"), ("table2", "Entropy")):
                (job,) = make_plan(name, scale, tmp_path, [0], tasks=[task], methods=[method]).jobs
                assert [word for word in job.overrides if word.startswith("algorithm.")] == []
                assert composed(*job.overrides)["algorithm"]["alpha"] == alpha


def test_table_3_says_what_mipi_has_in_the_paper_where_it_shares_its_runs(tmp_path: Path) -> None:
    for method, tasks in (("0.03 (MIPI)", ["SZ", "CSZ"]), ("0.1 (MIPI)", ["MMM"])):
        jobs = make_plan("table3", "paper", tmp_path, [0], methods=[method]).jobs
        assert [job.task for job in jobs] == tasks
        for job in jobs:
            assert composed(*job.overrides)["algorithm"]["alpha"] == float(method.split()[0])


@pytest.mark.parametrize("task", ["SZ", "CSZ", "MMM"])
def test_every_team_that_a_table_evaluates_exists(task: str, tmp_path: Path) -> None:
    (job,) = make_plan("table1", "cpu", tmp_path, [0], tasks=[task], methods=["MIPI"]).jobs
    config = composed(*job.overrides)
    make_env = environment_factory(config["env"])
    with one_environment(make_env) as env:
        worlds = worlds_of(config["held_out"]["team_sizes"], config["held_out"]["worlds"])
        assert len(worlds) >= 3
        for world in worlds:
            world.environment(make_env, 1, 0, env.entity_spec).close()


def test_tables_share_runs(tmp_path: Path) -> None:
    tables = ("table1", "table2", "table3")
    folders = [{job.folder for job in make_plan(name, "paper", tmp_path).jobs} for name in tables]
    assert len(folders[0] & folders[1] & folders[2]) == 3, "MIPI in each task"
    assert len(folders[1] & folders[2]) == 6, "and Value"
    changed = {job.folder for job in make_plan("table1", "paper", tmp_path, more=["algorithm.gamma=0.9"]).jobs}
    assert not changed & folders[0], "other settings are other runs"
    words = ["threads=1", "++algorithm.gamma=0.9", "threads=2"]
    (one, other) = (
        make_plan("figure2", "smoke", tmp_path, more=[words[int(i)] for i in order]) for order in ("012", "102")
    )
    assert one.jobs == other.jobs, "the order of the keys does not matter"
    last = make_plan("figure2", "smoke", tmp_path, more=["threads=2", "threads=1"]).jobs[0].overrides[-1]
    assert last == "threads=1", "of one key, the last value counts"


def fill(plan: Plan, shares: dict[str, float], seeds: int = 1) -> None:
    """A finished run for each job of these methods."""
    for job in plan.jobs:
        if job.method in shares and job.seed < seeds:
            share = shares[job.method]
            make_run(job.folder, job.method.lower(), job.seed, (share, share, share, share), environment=job.task)


def test_what_is_done_is_skipped_and_what_was_cut_goes_on(tmp_path: Path) -> None:
    plan = make_plan("figure4", "paper", tmp_path)
    done, cut, bare, failed, running = plan.jobs[:5]
    fill(plan, {"MIPI": 0.5}, seeds=1)
    folders = {job.seed: make_run(job.folder, "mipi", job.seed, finished=False) for job in (cut, bare, failed, running)}
    (folders[cut.seed] / "checkpoints").mkdir()
    entry = {"file": "update_000000010.ckpt", "sha256": "0" * 64, "frames": 10}
    index = json.dumps({"format": 1, "checkpoints": [entry]})
    for job in (cut, failed):
        (folders[job.seed] / "checkpoints").mkdir(exist_ok=True)
        (folders[job.seed] / "checkpoints" / "index.json").write_text(index)
    (folders[failed.seed] / FAILURE).write_text("diverged\n")
    with lock(folders[running.seed]):
        outlooks = look(plan.jobs[:6])
        assert [one.step for one in outlooks] == ["done", "resume", "start", "failed", "running", "start"]
        assert look([failed], retry=True)[0].step == "resume"
    words = [task.words if (task := task_of(one, 2)) else () for one in outlooks]
    assert words[1] == ("resume", str(folders[cut.seed]))
    assert words[2][:2] == ("train", "threads=2")
    assert words[2][-2:] == ("seed=2", f"output_dir={bare.folder}")
    assert [bool(one) for one in words] == [False, True, True, False, False, True]
    assert done.folder == cut.folder


@pytest.mark.parametrize("word", ["config_dir={}", "+config_dir='{}'", "config_dir=null"])
def test_a_run_is_resumed_with_the_folder_of_modules_that_it_was_started_with(word: str, tmp_path: Path) -> None:
    job = make_plan("figure2", "smoke", tmp_path / "out", more=[word.format(tmp_path)]).jobs[0]
    task = task_of(Outlook(job, "resume", Run(tmp_path / "run", "interrupted")), 1)
    assert task is not None
    named = () if word == "config_dir=null" else ("--config-dir", str(tmp_path.resolve()))
    assert task.words == ("resume", str(tmp_path / "run"), *named)


def test_cells_differences_and_order_are_those_of_a_calculation_by_hand(tmp_path: Path) -> None:
    plan = make_plan("table2", "cpu", tmp_path)
    fill(plan, {"MIPI": 0.5, "Value": 0.6, "Entropy": 0.1}, seeds=2)
    ours = comparison.ours_of(plan, look(plan.jobs))
    rows = {tuple(row[:3]): row[3:] for row in comparison.rows_of(plan, ours)}
    assert rows["SZ", "MIPI", "3-5"] == ["0.66 ± 0.02", "0.50 ± 0.00", "2", "-0.16"]
    assert rows["SZ", "Entropy", "8"] == ["0.01 ± 0.01", "0.10 ± 0.00", "2", "+0.09"]
    order = {tuple(row[:2]): row[2:] for row in comparison.order_of(plan, ours)}
    assert order["SZ", "6"] == ["2 of 3", "Value", "MIPI", "no"]
    assert order["MMM", "6"] == ["3 of 3", "Value", "Value", "yes"], "the paper's one cell in which Value is better"


def test_the_papers_own_numbers_are_in_the_papers_order(tmp_path: Path) -> None:
    for target in ("table1", "table2", "table3"):
        plan = make_plan(target, "paper", tmp_path)
        ours = {cell: comparison.Ours({0: value}, rate=True) for cell, (value, _) in plan.paper.items()}
        assert {row[-1] for row in comparison.order_of(plan, ours)} == {"yes"}, "also where two of them are level"


def test_a_table_with_gaps_says_so(tmp_path: Path) -> None:
    plan = make_plan("table1", "smoke", tmp_path)
    fill(plan, {"REFIL": 0.5, "MAPPO": 0.5})
    ours = comparison.ours_of(plan, look(plan.jobs))
    rows = {tuple(row[:3]): row[3:] for row in comparison.rows_of(plan, ours)}
    assert rows["SZ", "MIPI", "6"] == ["0.45 ± 0.08", "-", "0", "-"]
    assert rows["SZ", "REFIL", "6"][1:] == ["0.50 ± ?", "1", "+0.06"]
    (order, *_) = comparison.order_of(plan, ours)
    assert order == ["SZ", "3-5", "0 of 1", "REFIL = MAPPO", "REFIL", "no"], "a tie is not the paper's order"
    fewer = {cell: value for cell, value in ours.items() if cell[1] != "MAPPO"}
    assert comparison.order_of(plan, fewer)[0][2:] == ["0 of 0", "REFIL", "REFIL", "open"], "one method is no order"
    alone = make_plan("table1", "smoke", tmp_path, tasks=["SZ"], methods=["MIPI"])
    fill(alone, {"MIPI": 0.5})
    (first, *_) = comparison.order_of(alone, comparison.ours_of(alone, look(alone.jobs)))
    assert first[-1] == "open", "nor where it alone was asked for"
    text = comparison.as_text(plan, ours)
    assert max(map(len, text.splitlines())) <= 80


def test_seeds_of_one_cell_with_different_settings_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A plan's settings change with the version, and a run may have been extended."""
    plan = make_plan("table1", "smoke", tmp_path, [0, 1], tasks=["SZ"], methods=["REFIL", "AQMIX"])
    for job in plan.jobs:
        changed = {"alpha": 0.2} if (job.method, job.seed) == ("REFIL", 1) else {}
        make_run(job.folder, job.method.lower(), job.seed, algorithm_keys=changed)
    (note,) = comparison.notes_on_settings(look(plan.jobs))
    assert note.endswith("the mean of SZ, REFIL is over seeds with different settings: algorithm.alpha")
    words = ["--tasks", "SZ", "--methods", "REFIL", "AQMIX", "--seeds", "0", "1"]
    assert main(["reproduce", "table1", *words, "--output-dir", str(tmp_path)]) == 0
    assert note in " ".join(capsys.readouterr().out.split())


def test_the_raw_table_has_what_each_seed_reached(tmp_path: Path) -> None:
    plan = make_plan("table1", "cpu", tmp_path, [3, 1], tasks=["SZ"], methods=["REFIL", "AQMIX"])
    (first, second, *_) = plan.jobs
    make_run(first.folder, "refil", 3, (0.5, 0.25, 0.25, 0.25))
    make_run(second.folder, "refil", 1, (0.75, 0.25, 0.25, 0.25))
    header, training, *others = comparison.raw_rows(plan, comparison.ours_of(plan, look(plan.jobs)))
    assert header[-2:] == ["seed_3", "seed_1"]
    assert training[4:] == ["0.62 ± 0.18", "2", "-0.05", "0.5000", "0.7500"]
    assert others[-1][-2:] == ["", ""], "AQMIX was not run"


def test_a_figure_is_held_against_what_the_text_says_of_it(tmp_path: Path) -> None:
    plan = make_plan("figure4", "smoke", tmp_path)
    fill(plan, {"MIPI": 0.5, "REFIL": 0.6})
    order = comparison.order_of(plan, comparison.ours_of(plan, look(plan.jobs)))
    assert order[0] == ["Resource Collection", "3-5", "-", "REFIL", "MIPI", "no"]
    fill(plan, {"AQMIX": 0.1, "CollaQ": 0.1})
    alone = comparison.order_of(
        plan, comparison.ours_of(plan, [one for one in look(plan.jobs) if one.job.method != "REFIL"])
    )
    assert alone[0][-1] == "open", "MIPI leads, but not all others have run"
    assert comparison.order_of(plan, comparison.ours_of(plan, [Outlook(job, "start", None) for job in plan.jobs])) == []


def test_a_figure_has_no_verdict_on_a_best_method_that_has_not_run_or_was_not_chosen(tmp_path: Path) -> None:
    plan = make_plan("figure4", "smoke", tmp_path)
    others = [method for method in plan.methods(plan.tasks[0]) if method != "MIPI"]
    fill(plan, dict.fromkeys(others, 0.6))
    order = comparison.order_of(plan, comparison.ours_of(plan, look(plan.jobs)))
    assert order
    assert {row[-1] for row in order} == {"open"}, "MIPI may still be best"
    without = make_plan("figure4", "smoke", tmp_path, methods=others)
    ours = comparison.ours_of(without, look(without.jobs))
    assert ours
    assert comparison.order_of(without, ours) == []


def test_a_finished_plan_is_compared_without_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = make_plan("table2", "smoke", tmp_path)
    ours = {"MIPI-PPO": 0.9, "MIPI-PPO, no price": 0.8, "MIPI-PPO, entropy": 0.7}
    fill(plan, {"MIPI": 0.5, "Value": 0.6, "Entropy": 0.1, **ours})
    assert main(["reproduce", "table2", "--scale", "smoke", "--output-dir", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "18 runs: 18 done" in text
    lines = [line for line in text.splitlines() if not line.startswith(("page ", "numbers "))]
    assert max(map(len, lines)) <= 80, "but for paths"
    (folder,) = (tmp_path / "smoke" / "reports" / "table2").iterdir()
    with (folder / "comparison.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 72
    assert (rows[0]["paper"], rows[0]["ours"], rows[0]["diff"]) == ("0.66 ± 0.02", "0.50 ± ?", "-0.16")
    assert {row["seed_0"] for row in rows} == {"0.5000", "0.6000", "0.1000", "0.7000", "0.8000", "0.9000"}
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "fewer than 3" in page
    assert {word for job in plan.jobs for word in job.overrides if html.escape(shlex.quote(word)) not in page} == set()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["table9"], "invalid choice"),
        (["table1", "--scale", "huge"], "invalid choice"),
        (["table1", "--jobs", "0"], "--jobs must be at least 1"),
        (["table1", "fast"], "expected key=value"),
        (["ablations", "--scale", "paper"], "ablations has no scale paper; choose one of: smoke, cpu"),
        (["table1", "seed=3"], "the plan sets seed; remove seed=3, and choose seeds with --seeds"),
        (["table1", "++seed=3"], "the plan sets seed; remove ++seed=3, and choose seeds with --seeds"),
        (["table1", "+env=sz"], "the plan sets env; remove +env=sz, and choose tasks with --tasks"),
        (["table3", "algorithm.alpha=0.5"], "the plan's methods set algorithm.alpha; remove algorithm.alpha=0.5"),
        (["ablations", "++algorithm.mixer={pool: slots}"], "the plan's methods set algorithm.mixer.pool;"),
        (["ablations_ppo", "network=refil", "--methods", "the protocol"], "the plan's methods set network;"),
        (["figure4", "--scale", "cpu", "mixer@algorithm.mixer=qmix"], "the plan's methods set mixer@algorithm.mixer;"),
        (["table1", "--seeds", "a"], "must be a whole number"),
        (["table1", "--seeds", "0", "-1"], "--seeds must be an integer between 0 and "),
        (["table1", "--launcher-options", "partition=gpu"], "no effect without --launcher; add --launcher NAME"),
        (["table1", "--seeds", "0", "1", "0"], "--seeds names a seed twice: 0 1 0"),
        ([], "required: TARGET"),
    ],
)
def test_mistakes_are_told(words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["reproduce", *words, "--output-dir", str(tmp_path), "--dry-run"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_to_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "figure2", "--output-dir", "/dev/null/x"]) == 2
    assert capsys.readouterr().err == "mipi: --output-dir: cannot write to /dev/null/x (Not a directory)\n"


def test_a_part_of_a_table_takes_the_runs_of_the_whole(tmp_path: Path) -> None:
    whole = make_plan("table1", "cpu", tmp_path)
    part = make_plan("table1", "cpu", tmp_path, [1], tasks=["SZ"], methods=["REFIL", "MIPI"])
    assert [(job.task, job.method, job.seed) for job in part.jobs] == [("SZ", "MIPI", 1), ("SZ", "REFIL", 1)]
    assert set(part.jobs) < set(whole.jobs)
    assert part == make_plan("table1", "cpu", tmp_path, [1], tasks=["sz"], methods=["refil", "Mipi"])


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"tasks": ["ZS"]}, "table1 has no task ZS; choose from: SZ, CSZ, MMM"),
        ({"methods": ["Value"]}, "table1 has no method Value; choose from: MIPI, REFIL"),
    ],
)
def test_a_part_that_a_table_does_not_have_is_refused(
    chosen: dict[str, list[str]], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        make_plan("table1", "cpu", tmp_path, **chosen)  # type: ignore[arg-type]

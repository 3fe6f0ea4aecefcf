from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from run_folders import make_run

from mipi_pl.cli import main
from mipi_pl.reporting.listing import runs_table
from mipi_pl.reporting.runs import STATES, find_runs, read_run
from mipi_pl.storage.lock import lock
from mipi_pl.storage.run_folder import failure_noted
from mipi_pl.utils.errors import UserError


def test_a_finished_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path, "refil", 3, (0.9, 0.6, 0.5, 0.4)))
    assert (run.state, run.environment, run.algorithm, run.seed, run.problems) == (
        "finished",
        "marines",
        "refil",
        3,
        (),
    )
    assert (run.frames, run.budget, run.updates, run.seconds) == (1003, 1000, 100, 3600.0)
    assert (run.command, run.commit) == ("mipi train algorithm=refil seed=3", "c" * 40)
    assert set(run.policies) == {"trained", "untrained", "random"}
    trained = run.policies["trained"]
    assert [played.total.score.value for played in trained.values()] == [0.9, 0.6, 0.5, 0.4]
    assert list(trained["training"].by_size) == [3, 4, 5]
    assert trained["8"].by_composition["8 marine"][0] == 8
    held_out = run.held_out()
    assert list(held_out) == [0, 500, 1000]
    assert list(held_out.values()) == pytest.approx([0.0, 0.25, 0.5])


def test_a_run_of_the_program_itself_is_read_without_complaint(finished_run: Path) -> None:
    run = read_run(finished_run)
    assert (run.state, run.problems, run.environment, run.winnable) == ("finished", (), "matrix_game", True)
    assert run.command is not None
    assert run.policies["trained"]["BB"].total.episodes == 3
    assert run.policies["trained"]["BB"].total.mean_return >= 0
    assert run.held_out()[run.frames] == run.policies["trained"]["BB"].total.score.value


def test_states_follow_lock_failure_and_results(tmp_path: Path) -> None:
    folder = make_run(tmp_path, finished=False)
    assert read_run(folder).state == "interrupted"
    with lock(folder):
        assert read_run(folder).state == "running"
    assert read_run(folder).state == "interrupted", "a lock file without a process"
    with pytest.raises(ValueError, match="not finite"), failure_noted(folder):
        raise ValueError("loss is\nnot finite")
    failed = read_run(folder)
    assert (failed.state, failed.problems) == ("failed", ("failed: loss is not finite",))
    with pytest.raises(KeyboardInterrupt), failure_noted(folder):
        raise KeyboardInterrupt
    assert read_run(folder).state == "interrupted", "the old failure went when it was resumed"


def test_a_run_that_is_under_way_tells_how_far_it_is(tmp_path: Path) -> None:
    folder = make_run(tmp_path, finished=False)
    assert read_run(folder).frames == 500, "of the last evaluation"
    (folder / "metrics.csv").write_text("frames,step\n640.0,1\n,2\n")
    assert read_run(folder).frames == 640
    assert read_run(folder).commit == "c" * 40


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("results.json", '{"training": {"win_ra', "results.json is damaged or was not written by mipi"),
        ("results.json", "[1, 2]", "results.json is damaged or was not written by mipi (expected a mapping, got list)"),
        (
            "results.json",
            '{"held_out": {}}',
            "results.json is damaged or was not written by mipi (training is missing)",
        ),
        ("results.json", "\udcff", "results.json is damaged or was not written by mipi"),
        ("config.yaml", "a: [1", "config.yaml is damaged or was not written by mipi"),
        ("config.yaml", "algorithm: &x {b: *x}", "config.yaml is damaged or was not written by mipi"),
        (
            "config.yaml",
            "algorithm: {agent: {_target_: mipi_pl.models.agent.EntityAgent}}\nenv: &x {b: *x}",
            "config.yaml is damaged or was not written by mipi",
        ),
        ("config.yaml", "title: my site", "config.yaml is not the config of a run"),
        ("config.yaml", None, "config.yaml is missing"),
        ("evaluations.csv", None, "evaluations.csv is missing"),
        ("evaluations.csv", "frames,level\n1,all\n", "evaluations.csv: 1 rows cannot be read"),
        ("evaluations.csv", "x,y\n1,2\n3,4\n", "evaluations.csv: 2 rows cannot be read"),
        ("evaluations.csv", "", None),
        ("checkpoints/index.json", "{", "checkpoints is damaged or was not written by mipi"),
    ],
)
def test_what_is_missing_or_damaged_is_told(
    tmp_path: Path, name: str, content: str | None, problem: str | None
) -> None:
    folder = make_run(tmp_path)
    (folder / name).parent.mkdir(exist_ok=True)
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    run = read_run(folder)
    assert (run.environment, run.algorithm, run.seed) == ("marines", "mipi", 0), "known from another file or the name"
    assert run.state == ("damaged" if name == "results.json" else "finished")
    assert [p for p in run.problems if p.startswith(problem or "?")] or (problem is None and not run.problems)
    assert problem is None or any(problem.split()[0] in line for line in runs_table([run], tmp_path).splitlines())


def test_a_time_that_no_float_can_hold_is_no_time(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    results = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps({**results, "seconds": 10**400}))
    assert read_run(folder).seconds is None


def test_a_win_rate_that_cannot_be_is_refused(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    for good, bad in (
        ('"win_rate": 0.6', '"win_rate": 6.0'),
        ('"episodes": 20', '"episodes": 0'),
        ('"episodes": 20', '"episodes": 1e300'),
    ):
        text = (folder / "results.json").read_text()
        (folder / "results.json").write_text(text.replace(good, bad))
        assert read_run(folder).state == "damaged"
        (folder / "results.json").write_text(text)


def test_no_mutilation_of_a_run_folder_ends_in_a_crash(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    draw = random.Random(0)
    for _ in range(150):
        name = draw.choice(list(whole))
        content = bytearray(whole[name])
        kind = draw.randrange(4)
        if kind == 0:
            content = content[: draw.randrange(len(content))]
        elif kind == 1:
            for _ in range(5):
                content[draw.randrange(len(content))] = draw.randrange(256)
        elif kind == 2:
            lines = bytes(content).split(b",")
            del lines[draw.randrange(len(lines))]
            content = bytearray(b",".join(lines))
        else:
            content = bytearray(draw.randbytes(draw.randrange(200)))
        (folder / name).write_bytes(content)
        run = read_run(folder)
        assert run.state in STATES
        assert "mipi" in runs_table([run], tmp_path)
        (folder / name).write_bytes(whole[name])


def test_runs_are_found_wherever_they_lie_and_nothing_else_is(tmp_path: Path) -> None:
    made = {make_run(tmp_path / "outputs", "mipi", seed) for seed in (0, 1)}
    made.add(make_run(tmp_path / "outputs" / "deeper", "refil"))
    (tmp_path / "outputs" / "latest").symlink_to(next(iter(made)))
    evaluated = next(iter(made)) / "eval" / "now"
    evaluated.mkdir(parents=True)
    (evaluated / "results.json").write_text("{}")
    foreign = tmp_path / "outputs" / "site"
    foreign.mkdir()
    (foreign / "config.yaml").write_text("title: mine")
    (tmp_path / "outputs" / "empty").mkdir()
    assert {run.folder for run in find_runs([tmp_path / "outputs"])} == made
    one = next(iter(made))
    assert [run.folder for run in find_runs([one, one, tmp_path / "outputs" / "latest"])] == [one]
    for path, what in ((tmp_path / "nothing", "does not exist"), (one / "config.yaml", "is a file")):
        with pytest.raises(UserError, match=what):
            find_runs([path])


def test_the_list_of_runs_fits_80_columns_and_any_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path, "mipi", total_frames=10_000_000)
    make_run(tmp_path / "short", winnable=False, finished=False)
    assert main(["runs", str(tmp_path / "short")]) == 0
    row = capsys.readouterr().out.splitlines()[2]
    assert row.split() == ["marines__mipi__0/2026-01-01_00-00-00", "interrupted", "500", "1,000", "4.0", "4.0"]
    long = make_run(
        tmp_path, "alpha_infinity", environment="resource_collection", time="2026-01-01_00-00-00-with-a-tail"
    )
    (long / "config.yaml").write_text("a: \x07[")
    make_run(tmp_path / "a\x1b[31m")
    assert main(["runs", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert text.isascii()
    assert all(letter.isprintable() or letter == "\n" for letter in text)
    assert any(line.split() == ["finished", "10,000,003", "10,000,000", "0.50", "0.50"] for line in text.splitlines())
    assert "config.yaml is damaged or was not written by mipi" in " ".join(text.split())
    assert main(["runs", str(tmp_path / "nothing")]) == 2
    assert "does not exist" in capsys.readouterr().err
    (tmp_path / "bare").mkdir()
    assert main(["runs", str(tmp_path / "bare")]) == 0
    assert capsys.readouterr().out == f"no runs in {tmp_path / 'bare'}\n"

"""Sizes are estimated before anything is made."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mipi_pl import distributed
from mipi_pl.cli import main
from mipi_pl.envs.battle.scenario import _formation, enemy_army, refuse_army
from mipi_pl.envs.composition import Composition, TypeGroup, enumerate_compositions
from mipi_pl.envs.matrix import MatrixGame
from mipi_pl.evaluation.worlds import Worlds, workload_note, worlds_of
from mipi_pl.run.build import environment_factory
from mipi_pl.run.compose import compose
from mipi_pl.run.config import resolve
from mipi_pl.run.parts import assemble
from mipi_pl.run.processes import build_trainer
from mipi_pl.run.workload import note_without_experiment, notes
from mipi_pl.utils import memory
from mipi_pl.utils.errors import UserError
from mipi_pl.utils.memory import memory_bytes, readable_size, require_memory


def test_the_message_gives_the_estimate_and_the_memory_of_the_machine() -> None:
    with pytest.raises(ValueError, match=r"^a replay would take about 2 TB of memory, .* has [\d.]+ [MGT]B; less$"):
        require_memory("a replay", 2e12, "less")
    with pytest.raises(ValueError, match=r"^a replay would take more than 100 PB of memory"):
        require_memory("a replay", 1e30, "less")
    require_memory("a replay", memory_bytes(), "less")
    with pytest.raises(ValueError, match=r"^a replay would take about .* of memory in each of 2 processes, and"):
        require_memory("a replay", memory_bytes(), "less", processes=2)


def test_a_limit_of_one_process_is_not_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_own_bytes", lambda: 1_000)
    monkeypatch.setattr(memory, "_shared_bytes", lambda: 3_000)
    require_memory("a replay", 1_000, "less", processes=3)
    for size, processes in ((1_001, 1), (751, 4)):
        with pytest.raises(ValueError, match=r"^a replay would take about"):
            require_memory("a replay", size, "less", processes)


@pytest.mark.parametrize(
    ("launched", "here"),
    [({}, 8), ({"LOCAL_WORLD_SIZE": "4"}, 4), ({"SLURM_STEP_NUM_NODES": "3"}, 3)],
    ids=["Lightning", "torchrun", "srun"],
)
def test_the_processes_of_this_machine_are_those_that_its_launcher_starts(
    launched: dict[str, str], here: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOCAL_WORLD_SIZE", "SLURM_STEP_NUM_NODES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in launched.items():
        monkeypatch.setenv(name, value)
    assert distributed.size_here() == 1
    monkeypatch.setattr(distributed, "size", lambda: 8)
    assert distributed.size_here() == here


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1e9, "1 GB"), (2.5e12, "2.5 TB")],
)
def test_sizes_are_readable(size: float, text: str) -> None:
    assert readable_size(size) == text


def test_a_limit_of_the_address_space_counts() -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (10**9, 10**9)); "
        "from mipi_pl.utils.memory import memory_bytes; print(memory_bytes())"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert int(done.stdout) <= 10**9


@pytest.mark.parametrize("low", [0, 1, 3])
@pytest.mark.parametrize("types", [1, 2, 4])
@pytest.mark.parametrize("largest", [0, 2, 3, 9])
def test_compositions_are_counted_without_being_made(low: int, types: int, largest: int) -> None:
    group = TypeGroup(tuple("abcd"[:types]), low, 6)
    assert group.count(largest) == len(list(group.fillings(largest)))


def test_too_many_compositions_are_refused_at_once() -> None:
    groups = [TypeGroup(tuple("abcdef"), 0, 10**6)]
    with pytest.raises(ValueError, match=r"teams of up to 100,000 agents of 6 types have [\d,]+ candidate"):
        enumerate_compositions(groups, [100_000])


def test_a_formation_has_the_points_of_a_lattice_that_are_nearest_to_its_centre() -> None:
    for n in (0, 1, 2, 7, 8, 30, 64):
        reach = range(-n, n + 1)
        lattice = sorted(((2 * q + r, r) for q in reach for r in reach), key=lambda p: (p[0] ** 2 + 3 * p[1] ** 2, p))
        expected = np.array([(1.02 * x, 1.02 * y * np.sqrt(3.0)) for x, y in lattice[:n]]).reshape(n, 2)
        assert np.array_equal(_formation(n), expected)


def test_an_army_that_fits_is_not_refused() -> None:
    refuse_army(1000)
    assert len(enemy_army(Composition((("marine", 3),)), 100)) == 103


def test_an_environment_that_does_not_fit_is_refused_before_it_is_made() -> None:
    with pytest.raises(ValueError, match="10,000,000,000,000 environments of 3 entities each would take about"):
        MatrixGame({"AB": [[1.0, 0.0], [0.0, 0.0]]}, ["AB"], num_envs=10**13)


def test_a_long_evaluation_says_how_much_it_plays() -> None:
    assert workload_note(4, 256, 150) is None
    assert "1,000,000 episodes of up to 150 steps in each of 2 worlds" in str(workload_note(2, 10**6, 150))
    assert "up to 1,400,000 steps in all" in str(workload_note(7, 2, 100_000))


@pytest.mark.parametrize(
    ("chosen", "note"),
    [
        (["algorithm=mipi"], None),
        (["algorithm=mappo"], None),
        (["algorithm=mipi", "algorithm.policy_steps=1000000"], "note: 1,000,002 optimizer steps follow each episode;"),
        (["algorithm=mipi", "datamodule.updates_per_episode=1000"], "note: 3,000 optimizer steps follow each episode;"),
        (["algorithm=mappo", "algorithm.epochs=100000"], "note: 200,000 optimizer steps follow each rollout;"),
        (["algorithm=mappo", "datamodule.rollout_steps=50000"], "note: one collection plays 100,000 steps, and total_"),
        (["algorithm=mipi", "callbacks.generalization.episodes=100000000"], "note: an evaluation plays 100,000,000"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_work_that_the_number_of_frames_does_not_show_is_said(
    chosen: list[str], note: str | None, tmp_path: Path
) -> None:
    config = resolve(compose(["experiment=matrix_game", "debug=tiny", "datamodule.num_envs=2", *chosen]))
    parts = assemble(config, tmp_path, build_trainer(config["trainer"]))
    worlds = Worlds(environment_factory(config["env"]), worlds_of((), {}), 2, 0)
    said = list(notes(parts, worlds, config["total_frames"]))
    parts.datamodule.teardown("fit")
    assert [each[: len(note or "")] for each in said] == ([] if note is None else [note])


@pytest.mark.parametrize(
    ("chosen", "noted"),
    [
        ([], True),
        (["env=sz", "algorithm=mappo"], True),
        (["total_frames=20000000"], False),
        (["experiment=full"], False),
        (["debug=tiny"], False),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_run_without_an_experiment_says_how_long_it_is(chosen: list[str], noted: bool) -> None:
    config = resolve(compose(chosen))
    note = note_without_experiment(config["run"], config["total_frames"])
    assert ("10,000,000 frames" in note if note else False) == noted


def test_imaginary_partitions_that_do_not_fit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mipi_pl.run.learner._SLOT_BYTES", 10**13)
    config = resolve(compose(["experiment=matrix_game", "debug=tiny", "algorithm.marginal_teams=imaginary"]))
    with pytest.raises(UserError, match=r"algorithm: 2 imaginary partitions of .* would take about"):
        assemble(config, tmp_path, build_trainer(config["trainer"]))


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory"), RuntimeError("CUDA out of memory")],
)
def test_memory_that_is_used_up_ends_a_command_in_one_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def use_up(_: object) -> None:
        raise error

    monkeypatch.setattr("mipi_pl.commands.runs.run", use_up)
    assert main(["runs"]) == 1
    said = capfd.readouterr().err
    assert said.startswith("mipi: memory was used up (")
    assert len(said.splitlines()) == 1


def test_a_report_on_too_many_runs_is_refused(
    finished_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mipi_pl.reporting.report._MAX_RUNS", 0)
    assert main(["report", str(finished_run), "--output-dir", str(tmp_path)]) == 2
    assert "a report compares at most 0 runs, got 1" in capfd.readouterr().err
    monkeypatch.setattr("mipi_pl.reporting.runs._PARSED_SIZE", 1e15)
    assert main(["report", str(finished_run), "--output-dir", str(tmp_path)]) == 2
    assert "the content of 1 runs would take more than 100 PB" in capfd.readouterr().err
    monkeypatch.setattr("mipi_pl.reporting.runs._MAX_FOLDERS", 0)
    assert main(["runs", str(finished_run)]) == 2
    assert "has more than 0 folders: name one nearer to the runs" in capfd.readouterr().err

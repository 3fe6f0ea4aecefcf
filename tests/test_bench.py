"""The table of `make bench`: figures of earlier tables, and ratios that fell."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

import bench
import loop_profile

EARLIER = """
| script | figure | value |
|---|---|---:|
| loop.py | ratio_to_plain | 2.5 |
| loop.py | frames_per_s | 1,234.5 |
| growth.py | failed, exit code | 1 |

| | frames per hour | ratio |
|---|---|---|
| ours | 1,000 | 3 |

| loop.py | ratio_to_plain | 2.0 |
"""


def test_the_last_value_of_a_figure_counts_and_other_tables_do_not() -> None:
    assert bench.last_figures(EARLIER) == {("loop.py", "ratio_to_plain"): 2.0, ("loop.py", "frames_per_s"): 1234.5}


def test_ratios_that_fell_by_more_than_a_fifth_are_listed_and_nothing_else() -> None:
    before = {("a.py", "ratio"): 2.0, ("b.py", "x.ratio_to_1"): 2.0, ("c.py", "frames_per_s"): 100.0}
    measured = {
        ("a.py", "ratio"): 1.5,
        ("b.py", "x.ratio_to_1"): 1.65,
        ("c.py", "frames_per_s"): 1.0,
        ("d.py", "ratio"): 1.0,
    }
    assert bench.fallen(measured, before) == ["* a.py, ratio: 1.5, before 2.0"]


def test_only_measurements_of_speed_run_and_those_of_peers_only_with_their_checkouts() -> None:
    nothing = dict.fromkeys(("refil", "smaclite", "jaxmarl", "jaxmarl_python"))
    alone = bench.planned(argparse.Namespace(threads=2, **nothing))
    assert sorted(alone) == [
        *("collection.py", "env_steps.py", "growth.py", "learner_updates.py", "loop_profile.py", "scaling.py")
    ]
    given = {"refil": Path("r"), "smaclite": Path("s"), "jaxmarl": Path("j"), "jaxmarl_python": "python"}
    with_peers = bench.planned(argparse.Namespace(threads=2, **given))
    assert set(with_peers) == set(bench.SCRIPTS)
    assert with_peers["peer_loop.py"] == ["--threads", "2", "--repo", "r", "--smaclite", "s"]
    assert with_peers["peer_jaxmarl.py"][0] == "speed"
    assert [name for name in bench.SCRIPTS if not (bench.FOLDER / name).is_file()] == []


def test_the_figures_of_the_committed_results_can_be_read() -> None:
    figures = bench.last_figures(bench.RESULTS.read_text(encoding="utf-8"))
    assert ("peer_loop.py", "refil_ratio_frames_per_core_h") in figures


@pytest.mark.parametrize("algorithm", ["mappo", "mipi_ppo", "mipi", "refil"])
def test_the_parts_of_every_learner_are_timed(algorithm: str) -> None:
    sizes = ["env=marines", "datamodule.num_envs=2", "network.width=4", "network.heads=1", "network.hidden=4"]
    loop = loop_profile.Loop([f"algorithm={algorithm}", *sizes])
    assert loop.parts
    loop.data.teardown("fit")

"""Two connected processes against one that does the work of both."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric.plugins.environments.lightning import find_free_network_port
from rank_scenes import NOBODY, ON_POLICY, OPTIONS, PARTS, batches_of, learn, learn_on_policy, results, rollouts

ROOT = Path(__file__).resolve().parent.parent
REFERENCES = ROOT / "tests" / "references"

Found = list[dict[str, Any]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What each of the two processes wrote."""
    folder = tmp_path_factory.mktemp("ranks")
    port = str(find_free_network_port())
    shared = {**os.environ, "PYTHONPATH": f"{REFERENCES}:{ROOT}", "OMP_NUM_THREADS": "1", "WORLD_SIZE": "2"}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, str(REFERENCES / "rank_scenes.py"), str(folder)]
    both = [subprocess.Popen(command, env={**shared, "RANK": str(rank)}) for rank in range(2)]
    assert [process.wait(timeout=300) for process in both] == [0, 0]
    return [torch.load(folder / f"rank_{rank}.pt", weights_only=True) for rank in range(2)]


def assert_equal_updates(found: Found, one: dict[str, Any]) -> None:
    """Parameters of both are those of one process with the joined batch, and so are the means that are logged."""
    first, second = found
    for name, expected in one["parameters"].items():
        assert torch.equal(first["parameters"][name], second["parameters"][name])
        torch.testing.assert_close(first["parameters"][name], expected, rtol=1e-9, atol=1e-12, msg=name)
    plain = {"train/td_error", "train/value/joint", "td_error", "value/joint"}  # means of each process's mean
    for logged, expected in zip(first["metrics"], one["metrics"], strict=True):
        for name in expected.keys() - plain:
            torch.testing.assert_close(logged[name], expected[name], rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize("name", OPTIONS)
def test_the_update_is_that_of_the_joined_batch(name: str, found: Found) -> None:
    assert_equal_updates([one["learned"][name] for one in found], learn(OPTIONS[name], batches_of(*PARTS)))


@pytest.mark.parametrize("name", ON_POLICY)
def test_the_update_on_rollouts_is_that_of_the_joined_rollout(name: str, found: Found) -> None:
    """Advantages, statistics of returns and losses are over all processes."""
    one = learn_on_policy(ON_POLICY[name], rollouts(*PARTS))
    assert_equal_updates([each["on-policy"][name] for each in found], one)


def test_a_rollout_without_decisions_teaches_the_critic_alone(found: Found) -> None:
    one = learn_on_policy({}, rollouts(PARTS[0], NOBODY))
    assert_equal_updates([each["rollout without decisions"] for each in found], one)


def test_two_processes_go_on_with_rollouts_bit_for_bit(found: Found) -> None:
    for each in found:
        whole, resumed = (each["on-policy, resumed"][name] for name in ("whole", "resumed"))
        assert whole["counts"] == resumed["counts"]
        assert torch.equal(whole["observed"], resumed["observed"])
        assert all(torch.equal(value, resumed["networks"][name]) for name, value in whole["networks"].items())
    first, second = (each["on-policy, resumed"]["whole"] for each in found)
    assert first["counts"][:3] == second["counts"][:3]
    assert first["counts"][1] == first["counts"][3] + second["counts"][3]
    trained = [name for name in first["networks"] if name.startswith(("agent.", "critic.", "marginal."))]
    assert all(torch.equal(first["networks"][name], second["networks"][name]) for name in trained)
    assert first["observed"].shape != second["observed"].shape or not torch.equal(first["observed"], second["observed"])


def test_a_process_in_which_nobody_acts_has_no_part_in_the_policy(found: Found) -> None:
    assert_equal_updates([one["one has nothing"] for one in found], learn({}, batches_of(PARTS[0], NOBODY)))


def test_evaluation_is_divided_and_its_numbers_are_those_of_one_process(found: Found) -> None:
    made: list[str] = []
    expected = results(made)
    assert [one["results"] for one in found] == [expected, expected]
    assert [one["made"] for one in found] == [made[::2], made[1::2]]


def test_what_diverges_in_one_process_ends_all_with_its_message(found: Found) -> None:
    for one in found:
        assert one["diverged"].startswith("the critic diverged in update 1")
        assert one["wrong policy"] == "the policy diverged: its probabilities are not finite"


def test_a_log_that_the_first_process_cannot_write_stops_the_checkpoint_in_all(found: Found) -> None:
    assert [one["full disk"] for one in found] == ["disk full", "disk full"]


def test_gradients_are_averaged_also_where_one_process_has_none(found: Found) -> None:
    for one in found:
        assert one["unused"] == [[1.5, 1.5], [0.5, 0.5], None]


def test_the_first_process_decides_for_all_and_any_may_raise_a_flag(found: Found) -> None:
    for one in found:
        assert one["on first rank"] == [10, "no"]
        assert one["any rank"] == [True, False]

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from ppo_worlds import small_mappo
from script_world import ScriptWorld
from tensordict import TensorDict

from datamodules.on_policy import OnPolicyDataModule
from models.targets import Perceived

LENGTHS = [[3, 1, 4], [2, 2, 5], [6]]


def data(**options: Any) -> OnPolicyDataModule:
    """Connected to a small policy."""
    module = OnPolicyDataModule(
        partial(ScriptWorld, LENGTHS),
        **{"num_envs": 3, "episodes_per_env": 2, "steps_per_collection": 4, **options},
    )
    module.connect(small_mappo(module.env.entity_spec).actor(greedy=False, seed=0))
    return module


def episodes_of(batch: TensorDict) -> list[tuple[int, int]]:
    """Environment and number of each episode, in order."""
    return sorted(tuple(row) for row in batch["entities"][:, 0, 0, :2].int().tolist())


@pytest.mark.parametrize("steps", [1, 4, 11])
@pytest.mark.parametrize("per_env", [1, 2, 3])
def test_every_environment_gives_the_same_number_of_whole_episodes_from_a_fresh_start(per_env: int, steps: int) -> None:
    module = data(episodes_per_env=per_env, steps_per_collection=steps)
    for _ in range(3):
        first = module.env.episode + 1  # a fresh start begins a new episode everywhere
        batch = module.next_batch()
        assert episodes_of(batch) == [(b, int(first[b]) + k) for b in range(3) for k in range(per_env)]
        for episode in batch:
            length = int(episode["valid"].sum())
            b, number = episode["entities"][0, 0, :2].int().tolist()
            assert length == LENGTHS[b][number % len(LENGTHS[b])]
            assert episode["entities"][: length + 1, 0, 2].tolist() == list(range(length + 1))


def test_frames_count_what_was_played_and_the_idle_share_what_was_not_used() -> None:
    module = data(steps_per_collection=1)
    batch = module.next_batch()
    longest = 2 * 6  # environment 2 plays its episodes of six steps, the others wait for it
    assert module.frames == 3 * longest
    assert module.collection_metrics()["idle"] == pytest.approx(1 - int(batch["valid"].sum()) / module.frames)
    assert (module.episodes, module.batches) == (6, 1)
    (summary,) = module.finished()
    assert int(summary["length"].sum()) == int(batch["valid"].sum())
    assert module.finished() == []


def test_a_batch_is_trimmed_and_nothing_of_the_round_before_is_in_it() -> None:
    module = data(episodes_per_env=1)
    for _ in range(4):
        batch = module.next_batch()
        assert batch["valid"].shape[1] == int(batch["valid"].sum(dim=1).max()) + 1
        for episode in batch:
            beyond = int(episode["valid"].sum()) + 1
            assert (episode["entities"][beyond:] == 0).all()


def test_the_policy_starts_each_round_without_a_memory() -> None:
    module = data()
    assert module._actor is not None
    seen: list[torch.Tensor] = []
    original = module._actor._perceive

    def watch(td: TensorDict) -> Perceived:
        seen.append(td["is_init"].clone())
        return original(td)

    vars(module._actor)["_perceive"] = watch
    for _ in range(2):
        before = len(seen)
        module.next_batch()
        assert seen[before].all()


def equal(a: TensorDict, b: TensorDict) -> bool:
    return all(torch.equal(value, b[key]) for key, value in a.items(include_nested=True, leaves_only=True))


def test_seeds_make_rounds_reproducible_and_different() -> None:
    same, again = data(), data()
    other = data()
    assert other._actor is not None
    other._actor.generator.manual_seed(1)
    rounds = [[module.next_batch() for _ in range(3)] for module in (same, again, other)]
    assert all(equal(a, b) for a, b in zip(rounds[0], rounds[1], strict=True))
    assert not all(equal(a, b) for a, b in zip(rounds[0], rounds[2], strict=True))


def test_a_restored_datamodule_plays_the_next_round_bit_for_bit_and_saves_no_episode() -> None:
    module, restored = data(), data()
    module.next_batch()
    state = module.state_dict()
    assert not {"observation", "assembler", "journal"} & state.keys()
    expected = [module.next_batch() for _ in range(2)]
    restored.load_state_dict(state)
    assert all(equal(restored.next_batch(), batch) for batch in expected)
    for name in ("frames", "episodes", "batches"):
        assert getattr(restored, name) == getattr(module, name)


@pytest.mark.parametrize("name", ["num_envs", "episodes_per_env", "steps_per_collection", "updates_per_epoch"])
def test_counts_below_one_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"datamodule.{name} must be at least 1, got 0"):
        data(**{name: 0})


def test_collecting_without_a_policy_is_an_error() -> None:
    module = OnPolicyDataModule(partial(ScriptWorld, LENGTHS), num_envs=3)
    with pytest.raises(RuntimeError, match="connect"):
        module.next_batch()
    with pytest.raises(RuntimeError, match="setup"):
        module.load_state_dict({})
    assert module.state_dict() == {}

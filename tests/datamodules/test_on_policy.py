"""Rollouts of the scripted world against the whole episodes that it plays."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from ppo_worlds import small_mappo
from script_world import LeavingWorld, ScriptWorld
from tensordict import TensorDict, TensorDictBase
from torch import Tensor

from mipi_pl import spec as keys
from mipi_pl.datamodules.on_policy import OnPolicyDataModule
from mipi_pl.datamodules.rollouts import RolloutCutter
from mipi_pl.models.targets import Perceived

LENGTHS = [[3, 1, 4], [2, 2, 5], [6]]
OBSERVED = (keys.ENTITIES, keys.PRESENT, keys.VISIBLE, keys.ACTION_MASK)


def data(lengths: list[list[int]] | None = None, **options: Any) -> OnPolicyDataModule:
    """Connected to a small policy."""
    lengths = LENGTHS if lengths is None else lengths
    module = OnPolicyDataModule(partial(ScriptWorld, lengths), **{"num_envs": 3, "rollout_steps": 4, **options})
    module.connect(small_mappo(module.env.entity_spec).actor(greedy=False, seed=0))
    return module


def play(rollouts: int, **options: Any) -> tuple[list[TensorDict], TensorDictBase, list[TensorDictBase]]:
    """Batches, the steps [B, T'] that they were cut from, and the outcomes of the episodes that ended."""
    module = data(**options)
    streams: list[TensorDictBase] = []
    collect = module.source.next

    def noted(epsilon: float) -> TensorDictBase:
        streams.append(collect(epsilon).clone())
        return streams[-1]

    vars(module.source)["next"] = noted
    batches = [module.next_batch() for _ in range(rollouts)]
    return batches, torch.cat(streams, dim=1), module.finished()


def nested(key: Any) -> tuple[str, ...]:
    return key if isinstance(key, tuple) else (key,)


# ------------------------------------------------------------------ sequences


@pytest.mark.parametrize("steps", [1, 4, 13])
@pytest.mark.parametrize("lengths", [LENGTHS, [[1], [1, 6], [5]]], ids=str)
def test_every_step_is_in_one_batch_once_and_as_it_was_played(lengths: list[list[int]], steps: int) -> None:
    batches, stream, _ = play(3, lengths=lengths, rollout_steps=steps)
    for number, batch in enumerate(batches):
        clock = [number * steps] * 3  # of each environment
        for sequence in batch:
            b, length = int(sequence[keys.ENVIRONMENT]), int(sequence[keys.VALID].sum())
            played = stream[b, clock[b] : clock[b] + length]
            clock[b] += length
            for key in (*OBSERVED, keys.ACTION):
                assert torch.equal(sequence[key][:length], played[key]), key
            for key in OBSERVED:
                assert torch.equal(sequence[key][length], played[-1][("next", *nested(key))]), key
            for key in (keys.REWARD, keys.TERMINATED, keys.TRUNCATED):
                assert torch.equal(sequence[key][:length], played["next", key].squeeze(-1)), key
            assert not sequence[keys.VALID][length:].any()
        assert clock == [(number + 1) * steps] * 3


def test_sequences_stand_by_environment_and_time_and_are_cut_at_ends_and_at_the_end_of_the_rollout() -> None:
    first, second = play(2, rollout_steps=4)[0]
    assert first[keys.ENVIRONMENT].tolist() == [0, 0, 1, 1, 2]
    assert first[keys.VALID].sum(dim=1).tolist() == [3, 1, 2, 2, 4]
    assert first[keys.FIRST_STEP].tolist() == [0] * 5
    assert second[keys.ENVIRONMENT].tolist() == [0, 1, 2, 2]
    assert second[keys.VALID].sum(dim=1).tolist() == [4, 4, 2, 2]
    assert second[keys.FIRST_STEP].tolist() == [0, 0, 4, 0], "the third environment goes on with its episode of six"
    ends = second[keys.TERMINATED] | second[keys.TRUNCATED]
    assert ends.nonzero().tolist() == [[0, 3], [2, 1]]


def test_the_steps_of_an_episode_are_counted_on_and_the_action_before_a_cut_is_known() -> None:
    batches, _, _ = play(6, rollout_steps=2)
    before: dict[int, Tensor] = {}
    for batch in batches:
        for sequence in batch:
            b, length, first = (
                int(x) for x in (sequence[keys.ENVIRONMENT], sequence[keys.VALID].sum(), sequence[keys.FIRST_STEP])
            )
            assert sequence[keys.ENTITIES][: length + 1, 0, 2].tolist() == list(range(first, first + length + 1))
            expected = before[b] if first else torch.full((2,), 3)
            assert torch.equal(sequence[keys.PREVIOUS_ACTION], expected)
            before[b] = sequence[keys.ACTION][length - 1]
    assert max(int(batch[keys.FIRST_STEP].max()) for batch in batches) == 4


def test_the_observation_after_a_cut_is_the_first_of_the_next_rollout() -> None:
    batches, _, _ = play(4, rollout_steps=4)
    cuts = 0
    for one, two in pairwise(batches):
        for b in range(3):
            last, first = one[one[keys.ENVIRONMENT] == b][-1], two[two[keys.ENVIRONMENT] == b][0]
            if int(first[keys.FIRST_STEP]) == 0:
                continue
            cuts += 1
            for key in OBSERVED:
                assert torch.equal(last[key][int(last[keys.VALID].sum())], first[key][0]), key
    assert cuts > 2


@pytest.mark.parametrize("length", [12, 4], ids=["at a cut", "at an end"])
def test_an_agent_that_appears_in_the_last_observation_is_in_it(length: int) -> None:
    """The value of that observation is bootstrapped at a cut, and at the time limit if it is not terminal."""
    module = OnPolicyDataModule(partial(LeavingWorld, range(4), [[length]] * 2), num_envs=2, rollout_steps=4)
    module.connect(small_mappo(module.env.entity_spec).actor(greedy=False, seed=0))
    batch = module.next_batch()
    assert batch[keys.ACTION].shape[2] == batch[keys.PREVIOUS_ACTION].shape[1] == 2
    assert batch[keys.PRESENT][..., 1].tolist() == [[False] * 4 + [True]] * 2
    assert batch[keys.VISIBLE][:, 4, 1, 1].all()
    assert batch[keys.ENTITIES][:, 4, 1].tolist() == [[0.0, 0.0, 4.0, 1.0], [1.0, 0.0, 4.0, 1.0]]


def test_a_batch_is_cut_to_the_slots_that_are_filled_and_padded_with_zeros() -> None:
    class Small(ScriptWorld):
        """Teams of one, and one other."""

        def _observe(self, frame: Any) -> None:
            super()._observe(frame)
            for slot in (1, 3):
                frame.present[:, slot] = False
                frame.entities[:, slot] = 0.0
                frame.visible[..., slot] = False
            frame.visible[:, 1] = False
            frame.action_mask[:, 1] = torch.tensor([True, False, False])

    module = OnPolicyDataModule(partial(Small, LENGTHS), num_envs=3, rollout_steps=5)
    module.connect(small_mappo(module.env.entity_spec).actor(greedy=False, seed=0))
    for _ in range(3):
        batch = module.next_batch()
        longest = int(batch[keys.VALID].sum(dim=1).max())
        assert batch[keys.ENTITIES].shape == (len(batch), longest + 1, 2, 4)
        assert batch[keys.VISIBLE].shape[2:] == (1, 2)
        assert batch[keys.ACTION].shape[2] == batch[keys.PREVIOUS_ACTION].shape[1] == 1
        assert (batch[keys.ENTITIES][:, 0, :, 3] == torch.tensor([0.0, 2.0])).all(), "the agents stay the first ones"
        for sequence in batch:
            beyond = int(sequence[keys.VALID].sum()) + 1
            assert (sequence[keys.ENTITIES][beyond:] == 0).all()
            assert not sequence[keys.VISIBLE][beyond:].any()


# ------------------------------------------------------------------ outcomes


@pytest.mark.parametrize("steps", [1, 4, 20])
def test_outcomes_are_those_of_whole_episodes_however_many_rollouts_they_span(steps: int) -> None:
    batches, stream, finished = play(20 // steps, rollout_steps=steps)
    found = [
        (int(row["length"]), float(row["return_"]), bool(row["won"]), int(row["composition"]), bool(row["cut_short"]))
        for summary in finished
        for row in summary
    ]
    expected = []
    for b, row in enumerate(LENGTHS):
        start, number = 0, 0
        while start + row[number % len(row)] <= 20:
            length, odd = row[number % len(row)], number % 2 == 1
            earned = float(stream[b, start : start + length]["next", keys.REWARD].sum())
            expected.append((length, pytest.approx(earned, rel=1e-5), odd, number % 2, not odd and length < 6))
            start, number = start + length, number + 1
    assert len(found) == len(expected) == sum(int((b["terminated"] | b["truncated"]).sum()) for b in batches)
    for one in found:
        expected.remove(one)


def test_frames_and_episodes_are_counted() -> None:
    module = data(rollout_steps=4)
    for number in range(1, 4):
        module.next_batch()
        assert (module.frames, module.batches) == (12 * number, number)
    finished = module.finished()
    assert module.episodes == sum(len(summary) for summary in finished) > 6
    assert module.cut_short == sum(int(summary["cut_short"].sum()) for summary in finished) > 0
    assert module.finished() == []
    assert module.collection_metrics() == {}, "no environment waits for another"


def test_a_rollout_in_which_no_episode_ends_has_no_outcome() -> None:
    module = data(lengths=[[6]] * 3, rollout_steps=2)
    module.next_batch()
    assert (module.episodes, module.finished()) == (0, [])


def test_an_episode_longer_than_the_spec_is_an_error() -> None:
    env = ScriptWorld([[3]], num_envs=1, max_steps=2)
    env.checked = False  # as compiled worlds are; a checked one does not let the episode go on
    steps = env.rollout(3, return_contiguous=True)
    cutter = RolloutCutter(1, env.entity_spec)
    cutter.cut(steps[:, :2])
    with pytest.raises(ValueError, match="longer than max_steps=2"):
        cutter.cut(steps[:, 2:])


# ------------------------------------------------------------------ collection


def test_the_policy_starts_afresh_where_an_episode_begins_and_nowhere_else() -> None:
    module = data()
    assert module._actor is not None
    seen: list[Tensor] = []
    original = module._actor._perceive

    def watch(td: TensorDict) -> Perceived:
        seen.append(td[keys.IS_INIT].squeeze(-1).clone())
        return original(td)

    vars(module._actor)["_perceive"] = watch
    for _ in range(3):
        module.next_batch()
    assert torch.stack(seen).sum(dim=0).tolist() == [5, 5, 2], "12 steps of 3 1 4 3 1, of 2 2 5 2 2, and of 6 6"


def equal(a: TensorDictBase, b: TensorDictBase) -> bool:
    return all(torch.equal(value, b[key]) for key, value in a.items(include_nested=True, leaves_only=True))


def test_seeds_make_rollouts_reproducible_and_different() -> None:
    same, again = data(), data()
    other = data()
    assert other._actor is not None
    other._actor.generator.manual_seed(1)
    rollouts = [[module.next_batch() for _ in range(3)] for module in (same, again, other)]
    assert all(equal(a, b) for a, b in zip(rollouts[0], rollouts[1], strict=True))
    assert not all(equal(a, b) for a, b in zip(rollouts[0], rollouts[2], strict=True))


@pytest.mark.parametrize("before", [1, 2])
def test_a_restored_datamodule_goes_on_bit_for_bit_in_the_middle_of_episodes(before: int) -> None:
    module, restored = data(), data()
    for _ in range(before):
        module.next_batch()
    state = module.state_dict()
    expected = [module.next_batch() for _ in range(3)]
    restored.load_state_dict(state)
    assert all(equal(restored.next_batch(), batch) for batch in expected)
    assert equal(torch.cat(restored.finished()), torch.cat(module.finished()))
    for name in ("frames", "episodes", "batches", "cut_short"):
        assert getattr(restored, name) == getattr(module, name)


@pytest.mark.parametrize("name", ["num_envs", "rollout_steps", "updates_per_epoch"])
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

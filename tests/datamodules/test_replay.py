from __future__ import annotations

import gc
import itertools
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from script_data import LENGTHS, data
from script_world import ScriptWorld
from tensordict import TensorDict

from mipi_pl import distributed
from mipi_pl import spec as keys
from mipi_pl.datamodules import collection
from mipi_pl.datamodules.episode_buffer import EpisodeBuffer
from mipi_pl.datamodules.episodes import empty_episodes
from mipi_pl.datamodules.journal import EpisodeJournal
from mipi_pl.datamodules.replay import ReplayDataModule
from mipi_pl.spec import EntitySpec
from mipi_pl.utils.errors import TooManyFaultsError


def ended(steps: int) -> int:
    """Episodes that are over after this many steps of each environment."""
    count = 0
    for row in LENGTHS:
        left, number = steps, 0
        while (left := left - row[number % len(row)]) >= 0:
            number += 1
        count += number
    return count


def test_frames_and_episodes_are_counted_exactly() -> None:
    module = data()
    assert (module.frames, module.episodes) == (0, 0)
    lengths, returned = 0, 0
    for k in range(1, 12):
        module.collect()
        assert module.frames == 3 * 4 * k
        assert module.episodes == ended(4 * k)
        for summary in module.finished():
            lengths += int(summary["length"].sum())
            returned += len(summary)
    assert returned == module.episodes
    assert lengths + int(module._assembler._length.sum()) == module.frames
    assert module.finished() == []


def test_episodes_that_faults_cut_short_are_counted_also_after_resuming(tmp_path: Path) -> None:
    module, other = data(), data()
    expected = 0
    for _ in range(9):
        module.collect()
        for summary in module.finished():  # all but the longest are shorter than the time limit of 6
            expected += int(((summary["length"] < 6) & ~summary["won"]).sum())
    assert module.cut_short == expected > 5
    module._journal, other._journal = EpisodeJournal(tmp_path, 50), EpisodeJournal(tmp_path, 50)
    module.write_journal()
    other.load_state_dict(module.state_dict())
    assert other.cut_short == expected


@pytest.mark.parametrize("ratio", [1.0, 2.0, 0.25])
def test_updates_never_run_ahead_of_the_ratio_nor_fall_behind(ratio: float) -> None:
    module = data(updates_per_episode=ratio)
    for k in range(1, 30):
        before = module.episodes
        module.next_batch()
        owed = (module.episodes - 5) * ratio
        assert k <= owed
        # It only collected because the update was not owed before, and stopped as soon as it was.
        if module.episodes != before:
            assert k > (before - 5) * ratio
    assert module.batches == 29


def test_the_first_batch_waits_for_the_warmup_and_at_least_for_one_batch() -> None:
    module = data(warmup_episodes=9)
    module.next_batch()
    assert module.episodes > 9
    assert data(warmup_episodes=0).warmup_episodes == 4


def test_memory_mapped_and_ram_storage_give_equal_batches(tmp_path: Path) -> None:
    modules = [data(), data(storage="memmap", storage_dir=str(tmp_path)), data(storage="memmap")]
    for _ in range(12):
        batches = [module.next_batch() for module in modules]
        for other in batches[1:]:
            for key, value in batches[0].items(include_nested=True, leaves_only=True):
                assert torch.equal(value, other[key]), key
    (folder,) = tmp_path.iterdir()
    assert any(folder.iterdir())
    modules[1].teardown("fit")
    assert not any(tmp_path.iterdir()), "nothing is left behind"


def test_memory_maps_that_the_disk_cannot_hold_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    told = rf"^a replay of 1,000,000,000,000 episodes .* of disk space, and the disk of {tmp_path} has .* free; lower"
    with pytest.raises(ValueError, match=told):
        data(storage="memmap", storage_dir=str(tmp_path), capacity=10**12)
    gc.collect()
    assert not any(tmp_path.iterdir())


def test_every_process_of_a_machine_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "size_here", lambda: 10**12)
    with pytest.raises(
        ValueError, match=r"^one collection of .* of memory in each of 1,000,000,000,000 processes, and"
    ):
        data()
    buffer = EpisodeBuffer(4, "ram", None)
    with pytest.raises(ValueError, match=r"^a replay of 4 episodes .* in each of 1,000,000,000,000 processes, and"):
        buffer.require_room(ScriptWorld(LENGTHS, num_envs=1).entity_spec, 1)


def test_worlds_on_another_device_are_refused() -> None:
    def placed(**options: Any) -> ScriptWorld:
        env = ScriptWorld(LENGTHS, **options)
        vars(env)["_device"] = torch.device("cuda")
        return env

    with pytest.raises(ValueError, match=r"must be on the processor, got device cuda: leave out env\.device"):
        ReplayDataModule(placed, num_envs=1)


def test_summaries_that_nobody_asks_for_are_those_of_the_newest_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection, "_MOST_SUMMARIES", 3)
    monkeypatch.setattr(collection, "_MOST_FINISHED", 5)
    module = data()
    for k in range(50):
        numbers = torch.tensor([2 * k, 2 * k + 1])
        module.count(TensorDict({"number": numbers, "cut_short": torch.zeros(2)}, batch_size=[2]))
    assert len(module._finished) <= 3
    kept = torch.cat(module.finished())["number"].tolist()
    assert kept == list(range(100 - len(kept), 100))
    assert 5 <= len(kept) <= 5 + 3 * 2


def test_faults_are_counted_in_the_process_that_had_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "gather", lambda own: [own, 7])
    monkeypatch.setattr(distributed, "any_rank", lambda flag: True)
    with pytest.raises(TooManyFaultsError, match="the world has failed in 7 episodes"):
        data(max_faults=7).rest()


def test_runs_that_share_a_folder_for_memory_maps_do_not_meet(tmp_path: Path) -> None:
    chosen = {"storage": "memmap", "storage_dir": str(tmp_path / "new" / "folder")}
    first, second = data(**chosen), data(**chosen, seed=1)
    alone = data(seed=1)
    for _ in range(3):
        first.next_batch()
        assert torch.equal(second.next_batch()["reward"], alone.next_batch()["reward"])
    folder = tmp_path / "new" / "folder"
    assert len(list(folder.iterdir())) == 2
    del first
    gc.collect()
    assert len(list(folder.iterdir())) == 1, "also of a module that was never torn down"


def test_seeds_make_collection_and_sampling_reproducible_and_different() -> None:
    same, again, other = data(), data(), data(seed=1)
    batches = [[module.next_batch()["reward"] for _ in range(8)] for module in (same, again, other)]
    assert all(torch.equal(a, b) for a, b in zip(batches[0], batches[1], strict=True))
    assert not all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(batches[0], batches[2], strict=True))


def drawn(module: ReplayDataModule) -> list[tuple[int, int]]:
    """Environment and number of each episode of a fresh batch."""
    return [(b, number) for b, number in module.sample()["entities"][:, 0, 0, :2].int().tolist()]


def test_the_episodes_of_a_batch_are_different_and_batches_are_independent() -> None:
    module = data(capacity=6, batch_size=4)
    while module.episodes < 12:
        module.collect()
    batches = [drawn(module) for _ in range(600)]
    assert all(len(set(batch)) == 4 for batch in batches)
    counts = {episode: sum(episode in batch for batch in batches) for batch in batches for episode in batch}
    assert len(counts) == 6
    expected, deviation = 600 * 4 / 6, (600 * 4 / 6 * 2 / 6) ** 0.5
    assert all(abs(count - expected) < 4.5 * deviation for count in counts.values())
    pairs = list(itertools.pairwise(batches))
    again = sum(len({*a} & {*b}) for a, b in pairs) / len(pairs)
    assert again == pytest.approx(4 * 4 / 6, abs=0.15), "an epoch without replacement would repeat two, not 2.67"


def test_a_batch_of_the_whole_replay_has_every_episode_once() -> None:
    module = data(capacity=6, batch_size=6)
    while module.episodes < 12:
        module.collect()
    assert len(set(drawn(module))) == 6


def test_more_different_episodes_than_there_are_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="a batch needs 4 different episodes and the replay has 0"):
        data().sample()


def test_a_full_buffer_forgets_the_oldest() -> None:
    module = data(capacity=6, batch_size=6, num_envs=3)
    while module.episodes < 20:
        module.collect()
    kept = module._buffer[:]
    assert len(kept) == 6
    last = {(b, number) for b, number in kept["entities"][:, 0, 0, :2].int().tolist()}
    assert len(last) == 6
    for b in range(3):
        # Of each environment the newest, without a gap.
        numbers = sorted(number for env, number in last if env == b)
        newest = int(module.env.episode[b]) - 1
        assert numbers == list(range(newest - len(numbers) + 1, newest + 1))


def test_sampled_batches_hold_stored_episodes_and_are_trimmed() -> None:
    module = data(batch_size=2)
    for _ in range(10):
        batch = module.next_batch()
        assert batch["entities"].shape[:2] == (2, int(batch["valid"].sum(dim=1).max()) + 1)
        for episode in batch:
            length = int(episode["valid"].sum())
            b, number = episode["entities"][0, 0, :2].int().tolist()
            assert length == LENGTHS[b][number % len(LENGTHS[b])]
            assert episode["entities"][: length + 1, 0, 2].tolist() == list(range(length + 1))


def test_a_batch_is_a_copy() -> None:
    module = data()
    batch = module.next_batch()
    batch["reward"].fill_(-1.0)
    batch["agents", "action"].fill_(-1)
    assert (module._buffer[:]["reward"] >= 0).all()
    assert (module._buffer[:]["agents", "action"] >= 0).all()


def test_epsilon_falls_in_a_straight_line_over_frames() -> None:
    module = data(epsilon_start=1.0, epsilon_end=0.2, epsilon_frames=48)
    seen = []
    for _ in range(6):
        seen.append(module.epsilon)
        module.collect()
        assert module._actor is not None
        assert module._actor.epsilon == seen[-1]
    assert seen == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2, 0.2])
    assert data(epsilon_frames=0, epsilon_end=0.3).epsilon == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"storage": "disk"}, "'ram' or 'memmap', got 'disk'"),
        ({"capacity": 3}, r"capacity \(3\) must hold at least one batch \(4 episodes\)"),
        ({"updates_per_episode": 0.0}, "must be above 0, got 0"),
    ],
)
def test_impossible_values_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        data(**options)


def test_collecting_without_a_policy_is_an_error() -> None:
    module = ReplayDataModule(partial(ScriptWorld, LENGTHS), num_envs=3)
    with pytest.raises(RuntimeError, match="connect"):
        module.collect()


@pytest.mark.parametrize("storage", ["ram", "memmap"])
def test_more_episodes_at_once_than_the_replay_holds_leave_the_newest_whole(storage: str, tmp_path: Path) -> None:
    """Several threads write large fields in parallel: an index that occurs twice would mix two episodes."""
    spec = EntitySpec(
        n_agents=8, n_entities=16, n_features=15, n_actions=14, max_steps=150, action_names=tuple("abcdefghijklmn")
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for first in range(0, 96, 48):
            buffer = EpisodeBuffer(32, storage, tmp_path if storage == "memmap" else None)
            buffer.extend(_numbered(0, spec, 16))  # so that the next ones begin in the middle
            buffer.extend(_numbered(first + 16, spec, 48))
            kept = buffer.numbered(range(64 - 32, 64))
            for key in (keys.ENTITIES, keys.ACTION, keys.REWARD):
                values = kept[key].flatten(1).float()
                assert torch.equal(values.amin(1), values.amax(1)), f"{key} of two episodes"
                assert values[:, 0].tolist() == list(range(first + 32, first + 64))
            buffer.close()
    finally:
        torch.set_num_threads(threads)


def _numbered(first: int, spec: EntitySpec, count: int) -> TensorDict:
    """Episodes that have their numbers in every field."""
    episodes = empty_episodes(count, spec)
    for n in range(count):
        for key in (keys.ENTITIES, keys.ACTION, keys.REWARD):
            episodes[key][n] = first + n
    return episodes

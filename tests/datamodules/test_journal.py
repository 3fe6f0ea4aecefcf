"""Episodes on disk, and a datamodule that resumes from the state of another."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from script_data import data
from script_world import ScriptWorld
from tensordict import TensorDict

from mipi_pl.datamodules.episodes import empty_episodes
from mipi_pl.datamodules.journal import EpisodeJournal, pack, unpack
from mipi_pl.datamodules.replay import ReplayDataModule
from mipi_pl.spec import EntitySpec
from mipi_pl.storage.files import DamagedError

SPEC = EntitySpec(n_agents=2, n_entities=4, n_features=4, n_actions=3, max_steps=6)


def episodes(first: int, count: int) -> TensorDict:
    """Real ones, played by `ScriptWorld`; the reward tells their number apart."""
    module = data(capacity=200)
    while module.episodes < first + count:
        module.collect()
    return module._buffer[torch.arange(first, first + count)].exclude("index")


def same(one: TensorDict, two: TensorDict) -> bool:
    keys = set(one.keys(True, True))
    assert keys == set(two.keys(True, True))
    return all(torch.equal(one[key], two[key]) for key in keys)


def test_packing_loses_nothing_but_padding() -> None:
    whole = episodes(0, 9)
    packed = pack(whole)
    assert packed["entities"].shape[0] == int(packed["lengths"].sum()) < 9 * (SPEC.max_steps + 1)
    assert same(unpack(packed, SPEC), whole)
    assert all(type(tensor) is torch.Tensor for tensor in packed.values())
    assert set(empty_episodes(1, SPEC).flatten_keys(".").keys()) | {"lengths"} == packed.keys()


def test_episodes_are_read_across_files_and_old_files_are_let_go(tmp_path: Path) -> None:
    whole = episodes(0, 20)
    journal = EpisodeJournal(tmp_path / "replay", capacity=10)
    for first, end in ((0, 7), (7, 12), (12, 13), (13, 20)):
        journal.append(first, whole[first:end])
        assert journal.end == end
    assert [segment["first"] for segment in journal.segments] == [7, 12, 13]
    for numbers in (range(10, 20), range(11, 14), range(19, 20)):
        parts = list(journal.read(SPEC, numbers, at_once=3))
        assert same(torch.cat(parts), whole[numbers.start : numbers.stop])
        assert max(map(len, parts)) <= 3
    assert not list(journal.read(SPEC, range(12, 12), at_once=3))
    with pytest.raises(DamagedError, match="no file contains episode 5"):
        list(journal.read(SPEC, range(5, 12), at_once=3))


def test_a_large_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    load = EpisodeJournal._load
    monkeypatch.setattr(EpisodeJournal, "_load", lambda self, part: loaded.append(part["file"]) or load(self, part))
    journal = EpisodeJournal(tmp_path, capacity=20)
    journal.append(0, episodes(0, 15))
    assert len(list(journal.read(SPEC, range(15), at_once=2))) == 8
    assert loaded == [journal.segments[0]["file"]]


def test_a_file_that_is_not_what_was_written_is_refused(tmp_path: Path) -> None:
    journal = EpisodeJournal(tmp_path, capacity=10)
    journal.append(0, episodes(0, 3))
    path = tmp_path / journal.segments[0]["file"]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedError, match="is damaged"):
        list(journal.read(SPEC, range(3), at_once=2))
    path.unlink()
    with pytest.raises(DamagedError, match="is missing"):
        list(journal.read(SPEC, range(3), at_once=2))


# Before the replay is full, when it is just full, and when it has been overwritten more than once.
@pytest.mark.parametrize("batches", [3, 8, 40])
def test_a_datamodule_goes_on_where_another_one_stood(batches: int, tmp_path: Path) -> None:
    one, two = (data(capacity=13, updates_per_episode=0.7) for _ in range(2))
    for module in (one, two):
        module._journal = EpisodeJournal(tmp_path / "replay", capacity=13)
    for number in range(batches):
        one.next_batch()
        if number % 5 == 0:
            one.write_journal()
    one.write_journal()
    saved = tmp_path / "state.pt"
    torch.save(one.state_dict(), saved)
    two.load_state_dict(torch.load(saved, weights_only=True))
    assert (one.frames, one.episodes, one.batches) == (two.frames, two.episodes, two.batches)
    for _ in range(12):
        assert same(one.next_batch(), two.next_batch())
    assert same(torch.cat(one.finished()), torch.cat(two.finished()))


def test_a_state_of_other_environments_is_refused(tmp_path: Path) -> None:
    module = data()
    module._journal = EpisodeJournal(tmp_path, capacity=50)
    module.next_batch()
    module.write_journal()
    other = data(num_envs=2)
    other._journal = EpisodeJournal(tmp_path, capacity=50)
    with pytest.raises(ValueError, match=r"shape \(3,\).* needs \(2,\).*same num_envs"):
        other.load_state_dict(module.state_dict())


def test_a_module_that_collects_nothing_has_no_state() -> None:
    module = ReplayDataModule(partial(ScriptWorld, [[3]]), num_envs=1)
    assert module.state_dict() == {}
    with pytest.raises(RuntimeError, match="setup"):
        module.load_state_dict({})

from __future__ import annotations

import hashlib
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from script_world import ScriptWorld
from tensordict import TensorDictBase
from torch import Tensor

from mipi_pl import spec as keys
from mipi_pl.envs.base import EntityEnv
from mipi_pl.envs.battle.env import BattleEnv
from mipi_pl.envs.composition import Composition
from mipi_pl.envs.frame import Frame
from mipi_pl.envs.matrix import MatrixGame
from mipi_pl.evaluation.generalization import Result, evaluate
from mipi_pl.evaluation.rollout import Episodes, play
from mipi_pl.evaluation.worlds import TRAINING, World, WorldError, Worlds, seed_of, size_range, worlds_of
from mipi_pl.spec import EntitySpec


class Countdown(EntityEnv):
    """An episode of size n lasts n steps, pays 1 in each and is won if n is even; sizes come in turn."""

    def __init__(self, num_envs: int, seed: int = 0, team_sizes: tuple[int, ...] = (1, 2, 3)) -> None:
        if max(team_sizes) > 9:
            raise ValueError("team_sizes must not exceed 9")
        self._sizes = torch.tensor(team_sizes)
        spec = EntitySpec(n_agents=1, n_entities=1, n_features=1, n_actions=2, max_steps=9)
        super().__init__(spec, [Composition((("one", size),)) for size in team_sizes], num_envs, seed)

    def seed_rows(self, seeds: np.ndarray) -> None:
        self._drawn = torch.from_numpy((seeds % 100).astype(np.int64))
        self._left = torch.zeros(len(seeds), dtype=torch.int64)

    def memory(self) -> dict[str, Tensor]:
        return {"drawn": self._drawn.clone(), "left": self._left.clone()}

    def remember(self, memory: dict[str, Tensor]) -> None:
        self._drawn, self._left = memory["drawn"].clone(), memory["left"].clone()

    def begin(self, rows: Tensor, frame: Frame) -> None:
        index = self._drawn % len(self._sizes)
        frame.composition[rows] = index[rows]
        self._left[rows] = self._sizes[index][rows]
        self._drawn[rows] += 1
        self._observe(frame)

    def advance(self, action: Tensor, frame: Frame) -> None:
        frame.composition.copy_(self._frame.composition)
        self._left -= 1
        frame.reward.fill_(1.0)
        frame.terminated.copy_(self._left == 0)
        frame.truncated.fill_(False)
        frame.won.copy_((self._left == 0) & (self._sizes[frame.composition] % 2 == 0))
        self._observe(frame)

    def _observe(self, frame: Frame) -> None:
        frame.entities.zero_()
        for mask in (frame.present, frame.visible, frame.action_mask):
            mask.fill_(True)


def act(td: TensorDictBase) -> TensorDictBase:
    td.set(keys.ACTION, torch.zeros(*td.batch_size, 1, dtype=torch.int64))
    return td


def digest(results: list[Result]) -> str:
    return hashlib.sha256(repr(results).encode()).hexdigest()


def countdown(*, num_envs: int, seed: int, **changes: Any) -> Countdown:
    return Countdown(num_envs, seed, **changes)


def test_each_environment_plays_the_same_number_of_whole_episodes() -> None:
    played = play(Countdown(num_envs=7, seed=3), act, episodes_per_env=4)
    assert len(played) == 28
    sizes = torch.tensor([1, 2, 3])[played.composition]
    assert torch.equal(played.length, sizes)
    assert torch.equal(played.return_, sizes.double())
    assert torch.equal(played.won, sizes % 2 == 0)


def test_short_episodes_are_not_counted_more_often() -> None:
    # Sizes come in turn, so three episodes of an environment are one of each; a bias would favour the short ones.
    played = play(Countdown(num_envs=5, seed=1), act, episodes_per_env=3)
    assert torch.bincount(played.composition).tolist() == [5, 5, 5]


def test_a_policy_is_told_when_an_episode_begins() -> None:
    seen: list[Tensor] = []

    def watching(td: TensorDictBase) -> TensorDictBase:
        seen.append(td.get(keys.IS_INIT).flatten().clone())
        return act(td)

    played = play(Countdown(num_envs=1, seed=0), watching, episodes_per_env=3)
    begins = torch.cat(seen).nonzero().flatten().tolist()
    assert begins == [0, *played.length.cumsum(0)[:-1].tolist()]


def test_no_episodes_are_refused() -> None:
    with pytest.raises(ValueError, match="episodes_per_env must be at least 1"):
        play(Countdown(num_envs=1), act, episodes_per_env=0)
    with pytest.raises(ValueError, match="episodes must be at least 1"):
        evaluate(lambda env, seed: act, Worlds(countdown, [World(TRAINING, {})], 0, 0))


def test_evaluation_counts_exactly_and_sorts_by_size_and_composition() -> None:
    (result,) = evaluate(lambda env, seed: act, Worlds(countdown, [World(TRAINING, {})], 300, 5))
    assert result.total.episodes == 300
    assert sum(score.episodes for score in result.by_size.values()) == 300
    assert sum(score.episodes for _, score in result.by_composition.values()) == 300
    assert result.by_size[2].win_rate.value == 1.0
    assert result.by_size[3].win_rate.value == 0.0
    assert result.by_size[3].return_.value == 3.0
    assert result.by_composition["2 one"][0] == 2


def test_a_world_is_played_alike_whatever_the_others_are() -> None:
    alone = evaluate(lambda env, seed: act, Worlds(countdown, worlds_of([4], {})[1:], 20, 9))
    beside = evaluate(lambda env, seed: act, Worlds(countdown, worlds_of([5, 4], {}), 20, 9))
    assert digest(alone) == digest([result for result in beside if result.name == "4"])
    assert seed_of("4", 9) != seed_of("5", 9) != seed_of("5", 10)


def test_a_world_of_few_environments_does_not_make_the_others_few() -> None:
    def make(*, num_envs: int, seed: int, few: bool = False, **changes: Any) -> Countdown:
        env = Countdown(num_envs, seed, **changes)
        env.max_evaluation_envs = 2 if few else 256
        if few:
            assert num_envs <= 2
        seen.append(num_envs)
        return env

    seen: list[int] = []
    alone, beside = (
        evaluate(lambda env, seed: act, Worlds(make, worlds_of([], others), 20, 9))
        for others in ({}, {"few": {"few": True}})
    )
    assert digest(beside[:1]) == digest(alone)
    assert seen == [1, 20, 1, 1, 20, 2]


def test_evaluation_leaves_the_global_random_state_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    evaluate(lambda env, seed: env.rand_action, Worlds(countdown, [World(TRAINING, {})], 5, 0))
    assert torch.equal(before, torch.get_rng_state())


def test_an_impossible_world_is_named_before_any_is_played() -> None:
    def never(env: EntityEnv, seed: int) -> Any:
        raise AssertionError("played")

    with pytest.raises(WorldError, match=r"evaluation '12' \(team_sizes=\[12\]\): team_sizes must not exceed 9"):
        evaluate(never, Worlds(countdown, worlds_of([2, 12], {}), 5, 0))


@pytest.mark.parametrize(("sizes", "others"), [([6, 6], {}), ([6], {"6": {}}), ([], {TRAINING: {"team_sizes": [4]}})])
def test_a_name_stands_for_one_world(sizes: list[int], others: dict[str, dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match=r"a name of its own, got (6|training) more than once: name each"):
        Worlds(countdown, worlds_of(sizes, others), 1, 0)


def test_a_size_that_a_list_of_mixes_overrules_is_refused() -> None:
    make = partial(BattleEnv, [{"types": ["marine"], "min": 1, "max": 8}], capacity=8, mixes=[{"marine": 3}])
    told = r"evaluation '6'.*: team_sizes has no effect, teams of 3 are played because env.*held_out\.team_sizes"
    with pytest.raises(WorldError, match=told):
        evaluate(lambda env, seed: act, Worlds(make, [World("6", {"team_sizes": [6]})], 1, 0))
    World("three", {"team_sizes": [3]}).environment(make, 1, 0)
    World("eight", {"team_sizes": [3], "mixes": [{"marine": 8}]}).environment(make, 1, 0)


def test_worlds_are_training_then_sizes_then_others() -> None:
    worlds = worlds_of([6, 7], {"odd": {"team_sizes": [7, 9]}})
    assert [world.name for world in worlds] == [TRAINING, "6", "7", "odd"]


@pytest.mark.parametrize(("sizes", "text"), [((3, 4, 5), "3-5"), ((6,), "6"), ((3, 5), "3, 5")])
def test_sizes_read_as_a_range(sizes: tuple[int, ...], text: str) -> None:
    assert size_range(sizes) == text


def test_the_first_episodes_are_the_first_of_each_environment() -> None:
    played = Episodes(*(torch.arange(4.0),) * 5)
    assert played.first(2).length.tolist() == [0, 1]


def test_an_episode_that_is_truncated_before_the_time_limit_was_cut_short() -> None:
    env = ScriptWorld([[3, 6], [6, 2], [2, 3]], num_envs=3, max_steps=6)  # the second of each is terminated
    played = play(env, env.rand_action, episodes_per_env=2)
    assert played.cut_short.view(2, 3).tolist() == [[True, False, True], [False] * 3]
    assert Result.from_episodes("3", env.compositions, played).cut_short == 2


def test_the_matrix_game_is_played_by_its_own_random_policy() -> None:
    payoffs = {"AB": [[1.0, 2.0], [0.0, 0.0]]}
    game = MatrixGame(payoffs, ["AB"], num_envs=50, seed=0)
    played = play(game, game.rand_action, episodes_per_env=2)
    assert set(played.return_.tolist()) <= {0.0, 1.0, 2.0}
    assert torch.equal(played.won, played.return_ == 2.0)


class Forgetful(Countdown):
    """A new seed does not put it back to its beginning."""

    def seed_rows(self, seeds: np.ndarray) -> None:
        if not hasattr(self, "_drawn"):
            super().seed_rows(seeds)


def forgetful(*, num_envs: int, seed: int, **changes: Any) -> Forgetful:
    return Forgetful(num_envs, seed, **changes)


@pytest.mark.parametrize(
    "make", [countdown, forgetful, partial(BattleEnv, [{"types": ["marine"], "min": 1, "max": 3}], [2, 3], capacity=3)]
)
def test_a_world_that_is_played_again_plays_the_same_episodes(make: Any) -> None:
    with Worlds(make, [World(TRAINING, {})], 20, 9) as worlds:
        first, again = (evaluate(lambda env, seed: env.rand_action, worlds) for _ in range(2))
    with Worlds(make, [World(TRAINING, {})], 20, 9) as fresh:
        assert digest(first) == digest(again) == digest(evaluate(lambda env, seed: env.rand_action, fresh))


def test_an_environment_that_cannot_be_put_back_is_closed_after_each_use() -> None:
    closed: list[int] = []

    class Game(Countdown):
        resumable = False

        def close(self, *, raise_if_closed: bool = True) -> None:
            closed.append(self.num_envs)
            super().close(raise_if_closed=raise_if_closed)

    def make(*, num_envs: int, seed: int, **changes: Any) -> Game:
        return Game(num_envs, seed, **changes)

    with Worlds(make, worlds_of([4], {}), 5, 0) as worlds:
        evaluate(lambda env, seed: act, worlds)
        assert closed == [1, 1, 5, 5]
    assert closed == [1, 1, 5, 5]


def test_a_composition_that_is_listed_twice_has_all_its_episodes() -> None:
    """It is drawn twice as often, and has one row in the results."""
    compositions = [Composition((("a", size),)) for size in (2, 3, 2)]
    composition, won = torch.tensor([0, 1, 2, 2]), torch.tensor([True, False, False, True])
    played = Episodes(torch.zeros(4).double(), won, torch.ones(4).long(), composition, torch.zeros(4).bool())
    found = Result.from_episodes("6", compositions, played).by_composition
    assert {label: (size, score.episodes) for label, (size, score) in found.items()} == {"2 a": (2, 3), "3 a": (3, 1)}

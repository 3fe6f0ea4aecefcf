from __future__ import annotations

import numpy as np
import pytest
import torch
from torchrl.envs.utils import check_env_specs

from mipi_pl import spec as keys
from mipi_pl.envs.composition import Composition
from mipi_pl.envs.stepped import SteppedEnv, View
from mipi_pl.spec import EntitySpec

SPEC = EntitySpec(n_agents=3, n_entities=4, n_features=2, n_actions=3, max_steps=6)


class Counting:
    """Ends after 2 + team size steps; shows a number drawn at reset and the sum of all actions so far."""

    def reset(self, composition: int, seed: int) -> View:
        self.team, self.left, self.total = 2 + composition, 4 + composition, 0
        self.drawn = float(np.random.default_rng(seed).integers(1, 1000))
        return self.view()

    def step(self, action: np.ndarray) -> View:
        self.total, self.left = self.total + int(action.sum()), self.left - 1
        return self.view(float(action.sum()))

    def view(self, reward: float = 0.0) -> View:
        entities = np.full((4, 2), [self.drawn, self.total], dtype=np.float32)
        present = np.array([True, True, self.team == 3, True])
        return View(entities, present, reward=reward, terminated=self.left == 0)


def make(num_envs: int = 4, seed: int = 0, spec: EntitySpec = SPEC) -> SteppedEnv:
    teams = [Composition((("agent", 2),)), Composition((("agent", 3),))]
    return SteppedEnv(spec, teams, Counting, num_envs, seed)


def test_the_specs_of_torchrl_hold() -> None:
    check_env_specs(make(), seed=0)


def test_teams_are_drawn_and_shown_by_the_masks() -> None:
    td = make(num_envs=32).reset()
    size = 2 + td[keys.COMPOSITION].squeeze(-1)
    assert set(size.tolist()) == {2, 3}
    assert torch.equal(td[keys.PRESENT].sum(-1), size + 1)
    for b in range(32):
        n = int(size[b])
        assert td[keys.VISIBLE][b, :n].sum() == n * (n + 1)
        assert not td[keys.VISIBLE][b, n:].any()
        assert td[keys.ACTION_MASK][b].sum(-1).tolist() == [3] * n + [1] * (3 - n)
        assert (td[keys.ENTITIES][b, n:3] == 0).all()
    assert len(td[keys.ENTITIES][:, 0, 0].unique()) > 20


def test_what_stands_in_the_rows_of_absent_entities_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_rubbish(self: Counting, reward: float = 0.0) -> View:
        shown = plain(self, reward)
        shown.entities[~shown.present] = np.nan
        return shown

    plain = Counting.view
    monkeypatch.setattr(Counting, "view", with_rubbish)
    td = make(num_envs=8).reset()
    assert not td[keys.PRESENT].all()
    assert (td[keys.ENTITIES][~td[keys.PRESENT]] == 0).all()


def test_a_row_that_has_ended_stands_still_until_it_is_reset() -> None:
    env = make(num_envs=8)
    td = env.reset()
    lengths, paid = 4 + td[keys.COMPOSITION].squeeze(-1), torch.zeros(8)
    for t in range(1, 7):
        td[keys.ACTION] = td[keys.ACTION_MASK].long().cumsum(-1).argmax(-1)  # the last that is available
        td = env.step(td)["next"]
        assert torch.equal(td["terminated"].squeeze(-1), lengths <= t)
        assert torch.equal(td["reward"].squeeze(-1) > 0, lengths >= t)
        paid += td["reward"].squeeze(-1)
    assert torch.equal(paid, td[keys.ENTITIES][:, 0, 1])


def test_the_longest_episode_is_cut_off() -> None:
    env = make(spec=EntitySpec(n_agents=3, n_entities=4, n_features=2, n_actions=3, max_steps=3))
    ended = env.rollout(10, break_when_any_done=True)[:, -1]["next"]
    assert ended["truncated"].all()
    assert not ended["terminated"].any()


def test_a_saved_environment_goes_on_as_it_would_have() -> None:
    def play(env: SteppedEnv, td: torch.Tensor, steps: int) -> list[list[float]]:
        seen = []
        for _ in range(steps):
            td[keys.ACTION] = td[keys.ACTION_MASK].long().cumsum(-1).argmax(-1)
            stepped, td = env.step_and_maybe_reset(td)
            seen.append([*td[keys.ENTITIES].flatten().tolist(), *stepped["next", "reward"].flatten().tolist()])
        return [*seen, td]

    env = make()
    *_, td = play(env, env.reset(), 9)
    saved = env.get_extra_state()
    expected = play(env, td.clone(), 12)[:-1]
    other = make(seed=5)
    other.set_extra_state(saved)
    assert play(other, td.clone(), 12)[:-1] == expected


def test_episodes_follow_from_the_seed_and_not_from_neighbours() -> None:
    few, many = (make(num_envs=n, seed=3).reset()[keys.ENTITIES] for n in (2, 5))
    assert torch.equal(few, many[:2])
    assert not torch.equal(many, make(num_envs=5, seed=4).reset()[keys.ENTITIES])


def test_what_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="must not exceed capacity 2, the number of agent slots; got 3"):
        make(spec=EntitySpec(n_agents=2, n_entities=4, n_features=2, n_actions=3, max_steps=6))
    with pytest.raises(ValueError, match=r"return entities of shape \(4, 5\), got \(4, 2\)"):
        make(spec=EntitySpec(n_agents=3, n_entities=4, n_features=5, n_actions=3, max_steps=6)).reset()
    env = make()
    td = env.reset()
    td[keys.ACTION] = torch.full((4, 3), 3)
    with pytest.raises(ValueError, match="environment 0, agent 0: action 3 is not available"):
        env.step(td)
    view = Counting.view
    monkeypatch.setattr(Counting, "view", lambda self: View(view(self).entities, np.ones(4), None, np.zeros((3, 3))))
    with pytest.raises(ValueError, match="agent 0 has no available action"):
        make().reset()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ([], "env.team_sizes must list at least one team, got none"),
        ([0], "env.team_sizes must list teams of at least one agent, got a team of 0"),
        ([2, -1], "env.team_sizes must list teams of at least one agent, got a team of -1"),
    ],
)
def test_impossible_teams_are_refused_before_a_game_is_made(sizes: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SteppedEnv(SPEC, [Composition((("agent", n),)) for n in sizes], lambda: pytest.fail("made"), num_envs=1)


def test_a_dead_agent_sees_nothing_and_has_the_first_action(monkeypatch: pytest.MonkeyPatch) -> None:
    view, sight = Counting.view, np.ones((3, 4), dtype=bool)
    sight[1, 1] = False
    monkeypatch.setattr(Counting, "view", lambda self: View(view(self).entities, np.ones(4), sight))
    td = make().reset()
    assert not td[keys.VISIBLE][:, 1].any()
    assert td[keys.VISIBLE][:, 0].all()
    assert td[keys.ACTION_MASK][0].tolist() == [[True] * 3, [True, False, False], [True] * 3]

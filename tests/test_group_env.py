"""The worlds as TorchRL environments: specs, content, and training with TorchRL's own losses."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from tensordict import TensorDictBase
from tensordict.nn import TensorDictModule, TensorDictSequential
from torchrl.envs.utils import check_env_specs
from torchrl.modules import MultiAgentMLP, QMixer, QValueModule
from torchrl.objectives import QMixerLoss

from mipi_pl import spec as keys
from mipi_pl.envs import flat
from mipi_pl.envs.battle.env import BattleEnv
from mipi_pl.envs.group import GroupEnv
from mipi_pl.envs.matrix import MatrixGame
from mipi_pl.torchrl import group_env
from mipi_pl.utils.errors import UserError

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "worlds_out" / "ippo.py"
SMALL = ("sz", "env.episode_limit=12")


@pytest.fixture(scope="module")
def battle() -> GroupEnv:
    """Teams of 3-5 in 8 slots."""
    return group_env(*SMALL, num_envs=4, seed=1)


@pytest.fixture(scope="module")
def ippo() -> ModuleType:
    spec = spec_from_file_location("ippo", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["ippo"] = module
    spec.loader.exec_module(module)
    return module


def test_specs_hold_for_battles_and_for_other_worlds(battle: GroupEnv) -> None:
    check_env_specs(battle)
    for name in ("resource_collection", "matrix_game"):
        check_env_specs(group_env(name, num_envs=2))


def test_content_is_that_of_the_world(battle: GroupEnv) -> None:
    world = group_env(*SMALL, num_envs=4, seed=1).world
    battle.set_seed(7)
    world.set_seed(7)
    ours, theirs = battle.reset(), world.reset()
    for _ in range(12):
        action = world.rand_action(theirs.clone())[keys.ACTION]
        ours.set(keys.ACTION, action)
        theirs.set(keys.ACTION, action)
        ours, theirs = battle.step(ours)["next"], world.step(theirs)["next"]
        assert torch.equal(ours["agents", "action_mask"], theirs[keys.ACTION_MASK])
        assert torch.equal(ours["agents", "info", "acting"][..., 0], keys.acting(theirs[keys.VISIBLE]))
        assert (ours["agents", "reward"][..., 0] == theirs[keys.REWARD]).all()
        assert torch.equal(ours["done"], theirs["done"])
    assert ours["truncated"].any()


def test_an_agent_observes_itself_and_the_entities_it_sees() -> None:
    entities = torch.arange(1.0, 7.0).reshape(3, 2)  # two agents and another entity
    visible = torch.tensor([[True, False, True], [False, False, False]])
    observed = flat.observations(entities, visible)
    assert observed.tolist() == [[1, 2, 1, 1, 2, 0, 0, 0, 1, 5, 6], [0] * 11]
    assert flat.states(entities, torch.tensor([True, True, False])).tolist() == [1, 1, 2, 1, 3, 4, 0, 0, 0]


def test_a_state_comes_back_with_the_state_of_the_world(battle: GroupEnv) -> None:
    td = battle.reset()
    td = battle.rand_action(td)
    saved = battle.state_dict()
    first = battle.step(td.clone())["next", "state"]
    battle.load_state_dict(saved)
    assert torch.equal(battle.step(td)["next", "state"], first)


def test_partial_resets_begin_only_the_ended_episodes(battle: GroupEnv) -> None:
    before = battle.step(battle.rand_action(battle.reset()))["next"]
    before["_reset"] = torch.tensor([[True], [False], [True], [False]])
    after = battle.reset(before.clone())
    same = (after["state"] == before["state"]).all(dim=-1)
    assert same.tolist() == [False, True, False, True]


def test_ippo_of_torchrl_trains(ippo: ModuleType) -> None:
    torch.manual_seed(0)
    groups = [{"types": ["stalker", "zealot"], "min": 3, "max": 5}]
    env = GroupEnv(BattleEnv(groups, [3, 4], 4, num_envs=4, episode_limit=12, target_actions="slots"))
    losses = list(ippo.train(env, iterations=3, steps=16, epochs=2, width=16))
    assert len(losses) == 3
    assert np.isfinite([list(of_iteration.values()) for of_iteration in losses]).all()


@pytest.mark.slow
def test_ippo_of_torchrl_learns_the_matrix_game(ippo: ModuleType) -> None:
    torch.manual_seed(0)
    payoffs = {"AB": [[0.0, 0.0], [0.0, 1.0]], "BA": [[0.0, 0.0], [0.0, 1.0]]}
    env = GroupEnv(MatrixGame(payoffs, ["AB", "BA"], num_envs=16))
    rewards = [numbers["reward"] for numbers in ippo.train(env, iterations=25, steps=8, epochs=8, width=16, lr=1e-2)]
    assert rewards[0] < 0.5
    assert rewards[-1] > 0.8


def test_qmix_of_torchrl_trains(battle: GroupEnv) -> None:
    torch.manual_seed(0)
    battle.set_seed(1)  # whatever the other tests have played
    spec = battle.world.entity_spec
    agents = ("agents", "action_value")
    net = MultiAgentMLP(
        n_agent_inputs=flat.observation_size(spec), n_agent_outputs=spec.n_actions, n_agents=spec.n_agents,
        centralized=False, share_params=True, depth=1, num_cells=16,
    )  # fmt: skip
    values = QValueModule(
        action_value_key=agents,
        action_mask_key=("agents", "action_mask"),
        out_keys=[("agents", "action"), agents, ("agents", "chosen_action_value")],
        action_space="categorical",
    )
    policy = TensorDictSequential(TensorDictModule(net, in_keys=[("agents", "observation")], out_keys=[agents]), values)
    mixer = TensorDictModule(
        QMixer(state_shape=(flat.state_size(spec),), mixing_embed_dim=8, n_agents=spec.n_agents, device="cpu"),
        in_keys=[("agents", "chosen_action_value"), "state"],
        out_keys=["chosen_action_value"],
    )
    loss = QMixerLoss(policy, mixer, action_space="categorical")
    optimizer = torch.optim.Adam(loss.parameters(), lr=1e-3)
    batch = battle.rollout(12, policy, break_when_any_done=False).reshape(-1)
    batch["next", "reward"] = batch["next", "agents", "reward"].mean(dim=-2)  # the mixed value has one reward
    # The first step of Adam overshoots, so that 20 steps ended above the start for some seeds.
    errors = [_descend(loss, batch, optimizer) for _ in range(60)]
    assert errors[-1] < errors[0]


def _descend(loss: QMixerLoss, batch: TensorDictBase, optimizer: torch.optim.Optimizer) -> float:
    error = loss(batch)["loss"]
    optimizer.zero_grad()
    error.backward()
    optimizer.step()
    return float(error.detach())


@pytest.mark.parametrize(
    ("world", "team", "message"),
    [
        ((), {}, "name a world, such as 'sz'"),
        (({"enemy_delta": 1},), {}, "name a world, such as 'sz'"),
        (("sz", {"team_sizes": [4]}), {"team_size": 3}, "give the team either by team_size or by env.team_sizes, got"),
        (("sz", "env.mixes=all"), {"composition": {"zealot": 3}}, "either by composition or by env.mixes, got both"),
        (("nope",), {}, "there is no configs/env/nope.yaml; env can be: "),
        (("sz",), {"team_size": 0}, "team_size must be a whole number from 1, got 0"),
        (("sz",), {"team_size": 2}, "no composition of 2 agents exists: this family allows 3 to 64"),
        (("sz",), {"team_size": 3, "composition": {"zealot": 3}}, "give either team_size or composition"),
        (("sz",), {"composition": {"zealot": 0}}, "composition must give a number of agents per type"),
        (("sz",), {"composition": {"marine": 3}}, "unknown type 'marine'; the types of this world: stalker, zealot"),
        (("matrix_game",), {"team_size": 2}, "matrix_game takes no team_size: it has no env.team_sizes"),
        (("resource_collection",), {"composition": {"agent": 3}}, "takes no composition: it has no env.mixes"),
        (("sz",), {"device": "gpu"}, "device must be one of PyTorch, such as 'cpu' or 'cuda:0', got 'gpu'"),
        (("sz", "env.jitter=text"), {}, "env.jitter must be a number, got 'text'"),
    ],
)
def test_mistakes_are_refused_in_one_line(world: tuple[str, ...], team: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        group_env(*world, num_envs=1, **team)  # type: ignore[arg-type]


def test_a_team_has_as_many_slots_as_agents() -> None:
    assert group_env("sz", "env.capacity=5", num_envs=1, team_size=3).world.entity_spec.n_agents == 5
    assert group_env("sz", {"capacity": 5}, num_envs=1, team_size=3).world.entity_spec.n_agents == 5
    env = group_env("sz", "env.enemy_delta=1", num_envs=1, composition={"stalker": 2, "zealot": 1})
    assert [c.label for c in env.world.compositions] == ["2 stalker + 1 zealot"]
    assert (env.world.entity_spec.n_agents, env.world.entity_spec.n_entities) == (3, 7)
    assert env.render().shape == (510, 480, 3)
    with pytest.raises(ValueError, match="mode must be rgb_array, got 'human'"):
        env.render("human")
    env.close()
    assert env.world.is_closed


def test_actions_before_the_first_episode_are_refused() -> None:
    with pytest.raises(RuntimeError, match=r"no episode has begun, .*: call reset first"):
        group_env(*SMALL, num_envs=4).rand_action()

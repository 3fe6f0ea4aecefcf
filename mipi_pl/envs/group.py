"""GroupEnv: a world in the layout of TorchRL's multi-agent losses and of BenchMARL's tasks."""

from __future__ import annotations

import numpy as np
import torch
from tensordict import TensorDict, TensorDictBase
from torchrl.data import Binary, Categorical, Composite, Unbounded
from torchrl.envs import EnvBase

from mipi_pl import spec as keys
from mipi_pl.envs import flat
from mipi_pl.envs.base import EntityEnv
from mipi_pl.envs.picture import draw

GROUP = "agents"
"""Name of the only group of agents."""


class GroupEnv(EnvBase):
    """An `EntityEnv` whose agents have an observation vector and a reward each.

    The keys are those of TorchRL's own multi-agent environments:

    ===================================  =============================================================================
    ``("agents", "observation")``        float32 [B, A, O], see `mipi_pl.envs.flat.observations`
    ``("agents", "action_mask")``        bool [B, A, U]; a dead or absent agent has action 0 only
    ``("agents", "action")``             int64 [B, A]
    ``("agents", "reward")``             float32 [B, A, 1], the reward of the team, the same for all agents
    ``("agents", "info", "acting")``     bool [B, A, 1]; False for dead and absent agents
    ``("agents", "info", "won")``        bool [B, A, 1]; the episode ended in success with this step
    ``"state"``                          float32 [B, S], see `mipi_pl.envs.flat.states`
    ``"done"``, ``"terminated"``,        bool [B, 1], shared by all agents
    ``"truncated"``
    ===================================  =============================================================================

    Args:
        world: the world, which this environment closes.

    Attributes:
        world: the world.
        group_map: names of the agents, by group.
        max_steps: T, time limit of an episode in steps.
    """

    def __init__(self, world: EntityEnv) -> None:
        super().__init__(device=world.device, batch_size=world.batch_size, run_type_checks=False)
        self.world = world
        self.max_steps = world.entity_spec.max_steps
        self.group_map = {GROUP: [f"ally_{k}" for k in range(world.entity_spec.n_agents)]}
        self._make_specs()

    def _make_specs(self) -> None:
        spec, shape, device = self.world.entity_spec, self.batch_size, self.device
        group = torch.Size([*shape, spec.n_agents])

        def numbers(*size: int) -> Unbounded:
            return Unbounded(torch.Size(size), dtype=torch.float32, device=device)

        def flags(*size: int) -> Binary:
            return Binary(n=size[-1], shape=torch.Size(size), dtype=torch.bool, device=device)

        info = Composite(acting=flags(*group, 1), won=flags(*group, 1), shape=group, device=device)
        agents = Composite(
            observation=numbers(*group, flat.observation_size(spec)),
            action_mask=flags(*group, spec.n_actions),
            info=info,
            shape=group,
            device=device,
        )
        state = numbers(*shape, flat.state_size(spec))
        self.observation_spec = Composite({GROUP: agents, "state": state}, shape=shape, device=device)
        action = Categorical(spec.n_actions, shape=group, dtype=torch.int64, device=device)
        self.action_spec = Composite(
            {GROUP: Composite(action=action, shape=group, device=device)}, shape=shape, device=device
        )
        reward = Composite(reward=numbers(*group, 1), shape=group, device=device)
        self.reward_spec = Composite({GROUP: reward}, shape=shape, device=device)
        done = {name: flags(*shape, 1) for name in (keys.DONE, keys.TERMINATED, keys.TRUNCATED)}
        self.done_spec = Composite(done, shape=shape, device=device)

    def _reset(self, tensordict: TensorDictBase | None = None, **_: object) -> TensorDictBase:
        return self._grouped(self.world._reset(tensordict))

    def _step(self, tensordict: TensorDictBase) -> TensorDictBase:
        return self._grouped(self.world._step(tensordict))

    def _grouped(self, td: TensorDictBase) -> TensorDict:
        """Return the content of a TensorDict of the world in the layout of this environment."""
        n_agents, visible = self.world.entity_spec.n_agents, td[keys.VISIBLE]

        def for_each_agent(name: str) -> torch.Tensor:
            return td[name].unsqueeze(-2).expand(-1, n_agents, 1).clone()

        agents = {
            "observation": flat.observations(td[keys.ENTITIES], visible),
            "action_mask": td[keys.ACTION_MASK],
            "info": {"acting": keys.acting(visible).unsqueeze(-1), "won": for_each_agent(keys.WON)},
        }
        if keys.REWARD in td.keys():  # noqa: SIM118  # a TensorDict is not a mapping
            agents["reward"] = for_each_agent(keys.REWARD)
        content = {name: td[name] for name in (keys.DONE, keys.TERMINATED, keys.TRUNCATED)}
        state = flat.states(td[keys.ENTITIES], td[keys.PRESENT])
        grouped = TensorDict({GROUP: agents, "state": state, **content}, batch_size=self.batch_size, device=self.device)
        grouped[GROUP].batch_size = (*self.batch_size, n_agents)
        grouped[GROUP, "info"].batch_size = (*self.batch_size, n_agents)
        return grouped

    def _set_seed(self, seed: int | None) -> None:
        self.world._set_seed(seed)

    def rand_action(self, tensordict: TensorDictBase | None = None) -> TensorDictBase:
        """Draw uniformly from the available actions.

        Args:
            tensordict: holds the current observation; None uses the last observation of the world.
        """
        return self.world.rand_action(tensordict)

    def render(self, mode: str = "rgb_array", index: int = 0) -> np.ndarray:
        """Draw the current state of one episode.

        Args:
            mode: only ``rgb_array``.
            index: index of the episode, from 0 to B - 1.

        Returns:
            uint8 [height, width, 3].

        Raises:
            ValueError: for another mode.
        """
        if mode != "rgb_array":
            raise ValueError(f"mode must be rgb_array, got {mode!r}")
        return draw(self.world.scene(index))

    def close(self, *, raise_if_closed: bool = True) -> None:
        """Close the world."""
        self.world.close(raise_if_closed=raise_if_closed)
        super().close(raise_if_closed=raise_if_closed)

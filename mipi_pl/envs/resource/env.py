"""ResourceCollection: the world of COPA (Liu et al., 2021) as a batched TorchRL environment."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
import torch
from tensordict import TensorDictBase
from torch import Tensor

from mipi_pl.envs.actions import refuse_unavailable
from mipi_pl.envs.base import EntityEnv
from mipi_pl.envs.composition import drawn_of
from mipi_pl.envs.frame import Frame
from mipi_pl.envs.kernels.records import from_tensors, output_of, to_tensors
from mipi_pl.envs.resource.rules import find_unavailable, parallel_entries, serial_entries
from mipi_pl.envs.resource.rules_state import N_ACTIONS, Land, State, make_state
from mipi_pl.envs.resource.scenario import Scenario
from mipi_pl.envs.resource.scene import scene_of
from mipi_pl.envs.scene import Scene
from mipi_pl.spec import EntitySpec

_MIN_PARALLEL_EPISODES = 256  # fewer episodes do not pay for waking the threads
_ACTIONS = ("stay", "north", "south", "east", "west")


class ResourceCollection(EntityEnv):
    """Agents with different skills collect resources, carry them home and defend home against an invader.

    Defaults are those of the paper's appendix D.1 and of COPA. The ground is the square [-1, 1]^2 with home at its
    centre; lengths are in its units, times in steps. Episodes cannot be won; policies are judged by their return.

    Args:
        team_sizes: numbers of agents, drawn uniformly; each size is a composition.
        capacity: A, number of agent slots; fixed for a policy.
        num_envs: B, number of episodes stepped at once.
        seed: equal seeds and actions give equal episodes, bit for bit.
        device: device of the returned tensors; the world runs on the CPU.
        episode_limit: steps after which an episode is truncated.
        resource_types: K, number of resource types.
        resources_per_type: number of resources of each type.
        skill_levels: each agent draws one of these skills per resource type in each episode.
        speed_levels: each agent draws its maximum speed from these, in lengths per unit of time (a step lasts `dt`).
        acceleration: acceleration of an agent's drive, as a multiple of its maximum speed.
        sight_range: distance within which an agent sees agents (centre to centre) and anything else (to its edge).
        wall: distance of the inner edges of the four walls from the centre.
        agent_size, home_size, resource_size, invader_size: radii.
        start_radius: radius of the circle on which the agents start.
        resource_radius: minimum and maximum distance of resources from home.
        resource_spacing: minimum distance of a new resource from the others.
        invader_rim: half the side of the square on whose rim the invader appears.
        invader_step: distance that the invader walks per step.
        invader_delay: maximum number of steps until the invader returns; drawn from 1 to this number.
        touch_margin: maximum gap at which two bodies still touch.
        collect_reward: reward of collecting a resource, multiplied by the agent's skill for its type.
        deliver_reward, catch_reward, arrival_penalty: rewards of bringing a resource home and of catching the invader,
            penalty of the invader's arrival at home.
        reward_scale: factor on all rewards.
        position_unit: length that counts as 1 in position features; only rescales these features.
        dt, damping, contact_force, contact_margin, mass: constants of the particle physics.
        parallel: spread episodes over threads, without any effect on results. None does so from 256 episodes on.

    Raises:
        ValueError: for invalid values; the message states the allowed ones.

    Examples:
        >>> env = ResourceCollection(team_sizes=[3, 4, 5], capacity=8, num_envs=2)
        >>> env.rollout(2)["entities"].shape
        torch.Size([2, 2, 16, 17])
    """

    winnable = False
    scripted = ("random", "expert")
    neutral_arguments = ("capacity", "device", "parallel")
    checked = False

    def __init__(
        self,
        team_sizes: Sequence[int],
        capacity: int,
        num_envs: int,
        seed: int = 0,
        device: str | torch.device = "cpu",
        episode_limit: int = 145,
        resource_types: int = 3,
        resources_per_type: int = 2,
        skill_levels: Sequence[float] = (0.1, 0.5, 0.9),
        speed_levels: Sequence[float] = (0.3, 0.5, 0.7),
        acceleration: float = 5.0,
        sight_range: float = 0.2,
        wall: float = 0.9,
        agent_size: float = 0.04,
        home_size: float = 0.08,
        resource_size: float = 0.05,
        invader_size: float = 0.03,
        start_radius: float = 0.12,
        resource_radius: Sequence[float] = (0.4, 0.95),
        resource_spacing: float = 0.1,
        invader_rim: float = 0.99,
        invader_step: float = 0.05,
        invader_delay: int = 10,
        touch_margin: float = 0.01,
        collect_reward: float = 10.0,
        deliver_reward: float = 1.0,
        catch_reward: float = 4.0,
        arrival_penalty: float = 4.0,
        reward_scale: float = 1.0,
        position_unit: float = 1.0,
        dt: float = 0.1,
        damping: float = 0.25,
        contact_force: float = 100.0,
        contact_margin: float = 0.001,
        mass: float = 1.0,
        parallel: bool | None = None,
    ) -> None:
        self.scenario = scenario = Scenario(
            team_sizes=tuple(team_sizes),
            capacity=capacity,
            episode_limit=episode_limit,
            resource_types=resource_types,
            resources_per_type=resources_per_type,
            skill_levels=tuple(skill_levels),
            speed_levels=tuple(speed_levels),
            acceleration=acceleration,
            sight_range=sight_range,
            wall=wall,
            agent_size=agent_size,
            home_size=home_size,
            resource_size=resource_size,
            invader_size=invader_size,
            start_radius=start_radius,
            resource_radius=tuple(resource_radius),  # type: ignore[arg-type]  # the scenario checks the length
            resource_spacing=resource_spacing,
            invader_rim=invader_rim,
            invader_step=invader_step,
            invader_delay=invader_delay,
            touch_margin=touch_margin,
            collect_reward=collect_reward,
            deliver_reward=deliver_reward,
            catch_reward=catch_reward,
            arrival_penalty=arrival_penalty,
            reward_scale=reward_scale,
            position_unit=position_unit,
            dt=dt,
            damping=damping,
            contact_force=contact_force,
            contact_margin=contact_margin,
            mass=mass,
        )
        spec = EntitySpec(
            n_agents=capacity,
            n_entities=scenario.n_entities,
            n_features=len(scenario.feature_names),
            n_actions=N_ACTIONS,
            max_steps=episode_limit,
            feature_names=scenario.feature_names,
            action_names=_ACTIONS,
        )
        threads = num_envs >= _MIN_PARALLEL_EPISODES if parallel is None else parallel
        self._entries = parallel_entries if threads else serial_entries
        self._land, self._columns = scenario.land(), scenario.columns()
        self._state = make_state(num_envs, capacity, scenario.n_resources, resource_types)
        super().__init__(spec, scenario.compositions, num_envs, seed, device)

    @property
    def state(self) -> State:
        """Live state of the kernels. Read only; every step changes it."""
        return self._state

    @property
    def land(self) -> Land:
        """Constants of the scenario for the kernels. Read only."""
        return self._land

    def scene(self, index: int) -> Scene:
        """Return the current state of episode `index` for drawing."""
        return scene_of(self.state, self.scenario, index)

    def make_scripted(self, name: str, seed: int) -> Callable[[TensorDictBase], TensorDictBase]:
        """Return a scripted policy of `mipi_pl.envs.resource.scripted`."""
        from mipi_pl.envs.resource.scripted import make_scripted  # imported here to compile only when needed

        return make_scripted(name, self, seed)

    def draw_only(self, sizes: Collection[int]) -> None:
        """Draw only these team sizes in the episodes that begin from now on."""
        self._land = self._land._replace(drawn=np.array(drawn_of(self.compositions, sizes)))

    def memory(self) -> dict[str, Tensor]:
        """Return the bytes of all episodes, agents, skills and resources."""
        return to_tensors(self._state._asdict())

    def remember(self, memory: dict[str, Tensor]) -> None:
        """Restore the bytes that `memory` returned."""
        from_tensors(self._state._asdict(), memory)

    def seed_rows(self, seeds: np.ndarray) -> None:
        """Set the state of each environment's random generator to its seed."""
        self._state.episodes["random"] = seeds

    def begin(self, rows: Tensor, frame: Frame) -> None:
        """Start new episodes in the rows that are True."""
        self._entries.begin(rows.numpy(), self._state, self._land, self._columns, output_of(frame))

    def advance(self, action: Tensor, frame: Frame) -> None:
        """Play one step in every running episode. Ended episodes do not change and have reward 0."""
        played = np.ascontiguousarray(action.numpy())
        unavailable = find_unavailable(played, self._state.episodes)
        refuse_unavailable(unavailable, played, self._frame.action_mask, self.entity_spec)
        self._entries.advance(played, self._state, self._land, self._columns, output_of(frame))

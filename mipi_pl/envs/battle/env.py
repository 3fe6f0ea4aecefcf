"""BattleEnv: the battle simulator as a batched TorchRL environment."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from tensordict import TensorDictBase
from torch import Tensor

from mipi_pl.envs.actions import refuse_unavailable
from mipi_pl.envs.base import EntityEnv
from mipi_pl.envs.battle.rules import find_unavailable, parallel_entries, serial_entries
from mipi_pl.envs.battle.rules_state import World, make_battles, make_pairs, make_units
from mipi_pl.envs.battle.scenario import Scenario, fixed_army, refuse_army, type_groups
from mipi_pl.envs.battle.snapshot import BattleSnapshot, UnitView
from mipi_pl.envs.battle.units import LOOPS_PER_S
from mipi_pl.envs.composition import TypeGroup, draw_limits
from mipi_pl.envs.frame import Frame
from mipi_pl.envs.kernels.records import Records, from_tensors, output_of, to_tensors
from mipi_pl.envs.scene import Scene
from mipi_pl.envs.split import Mix, Split
from mipi_pl.spec import EntitySpec

_OUTCOMES = ("going on", "lost", "time is up", "won", "drawn")
_MIN_PARALLEL_BATTLES = 256  # fewer battles do not pay for waking the threads
_ORDERS = ("idle", "move", "attack", "heal")


class BattleEnv(EntityEnv):
    """Battles between two armies of varying composition. The agents command one army, a script the other.

    Distances are from centre to centre, in map units.

    Args:
        groups: groups of unit types that may be mixed freely, each ``{types: [...], min: .., max: ..}``.
        team_sizes: numbers of agents.
        capacity: A, number of agent slots and tags; fixed for a policy.
        num_envs: B, number of battles stepped at once.
        seed: equal seeds and actions give equal battles, bit for bit.
        device: device of the returned tensors; the battle runs on the CPU.
        mixes: mixes of these sizes to play: ``training`` (all that `split` does not hold out), ``held_out``, ``all``,
            or a list of mixes such as ``{stalker: 2, zealot: 1}``. With a list, `team_sizes` has no effect.
        split: held-out mixes, as the fields of `mipi_pl.envs.split.Split`; None holds nothing out.
        enemies: fixed enemy army ``{type: number}``; None uses the agents' composition, changed by `enemy_delta`.
        enemy_delta: number of enemies minus number of agents; 0 is symmetric.
        draw: ``compositions`` draws uniformly over compositions, ``sizes`` draws a team size first.
        episode_limit: steps after which the battle is truncated.
        map_size: side of the square map.
        spawn_distance: distance between the armies' spawn points.
        jitter: maximum random shift, in x and in y, of each army's group of one type.
        sight_range: distance within which an agent sees others.
        target_range: distance within which target actions are available.
        acquisition_range: distance within which scripted units attack on sight.
        loops_per_step: game loops per step; a second has 22.4 game loops.
        target_actions: ``tags`` has one attack (and one heal) per tag, and the features show tags; a policy is then
            bound to its capacity. ``slots`` has one per slot and shows no tags: policies score the entity in the slot
            and act in battles of any capacity.
        random_tags: assign tags at random in each episode; otherwise the tag is the slot.
        centre_of_mass_features: add positions relative to the centre of mass of all living units to the features.
        kill_reward, win_reward: rewards of a kill and of the victory, in addition to 1 per point of damage to health
            and shields.
        best_return: return that the reward is scaled to.
        reward_scale: ``largest`` makes `best_return` the best return of the composition of `reward_reference_size`
            units with the highest unscaled return; ``composition`` makes it the best return of every composition.
        reward_reference_size: number of units; None uses the capacity, or the largest army of the family if smaller.
        both_scripted: let the script command the agents too; their actions are ignored.
        parallel: spread battles over threads, without any effect on results. None does so from 256 battles on, where
            it is faster. If False, no thread is started, so the process may fork.

    Raises:
        ValueError: for invalid values; the message states the allowed ones.

    Examples:
        >>> env = BattleEnv([{"types": ["marine"], "min": 1, "max": 8}], team_sizes=[3], capacity=3, num_envs=2)
        >>> env.rollout(2)["entities"].shape
        torch.Size([2, 2, 6, 19])
    """

    scripted = ("random", "attack_nearest", "focus_fire")
    team_arguments = ("team_sizes", "mixes", "split")
    neutral_arguments = ("capacity", "device", "parallel")
    checked = False

    def __init__(
        self,
        groups: Sequence[Mapping[str, Any] | TypeGroup],
        team_sizes: Sequence[int],
        capacity: int,
        num_envs: int,
        seed: int = 0,
        device: str | torch.device = "cpu",
        mixes: str | Sequence[Mix] = "training",
        split: Mapping[str, Any] | Split | None = None,
        enemies: Mapping[str, int] | None = None,
        enemy_delta: int = 0,
        draw: str = "compositions",
        episode_limit: int = 150,
        map_size: float = 32.0,
        spawn_distance: float = 14.0,
        jitter: float = 1.0,
        sight_range: float = 9.0,
        target_range: float = 6.0,
        acquisition_range: float = 9.0,
        loops_per_step: int = 8,
        target_actions: str = "tags",
        random_tags: bool = True,
        centre_of_mass_features: bool = True,
        kill_reward: float = 10.0,
        win_reward: float = 200.0,
        best_return: float = 20.0,
        reward_scale: str = "largest",
        reward_reference_size: int | None = None,
        both_scripted: bool = False,
        parallel: bool | None = None,
    ) -> None:
        scenario = Scenario(
            groups=type_groups(groups),
            team_sizes=tuple(team_sizes),
            capacity=capacity,
            mixes=mixes,
            split=Split.from_config(split),
            enemies=fixed_army(enemies),
            enemy_delta=enemy_delta,
            draw=draw,
            episode_limit=episode_limit,
            map_size=map_size,
            spawn_distance=spawn_distance,
            jitter=jitter,
            sight_range=sight_range,
            target_range=target_range,
            acquisition_range=acquisition_range,
            loops_per_step=loops_per_step,
            target_actions=target_actions,
            random_tags=random_tags,
            centre_of_mass_features=centre_of_mass_features,
            kill_reward=kill_reward,
            win_reward=win_reward,
            best_return=best_return,
            reward_scale=reward_scale,
            reward_reference_size=reward_reference_size,
            both_scripted=both_scripted,
        )
        layout = scenario.layout
        spec = EntitySpec(
            n_agents=layout.n_agents,
            n_entities=layout.n_agents + layout.n_enemies,
            n_features=layout.n_features,
            n_actions=layout.n_actions,
            max_steps=episode_limit,
            feature_names=layout.feature_names,
            action_names=layout.action_names,
            targets=layout.targets,
        )
        threads = num_envs >= _MIN_PARALLEL_BATTLES if parallel is None else parallel
        self._entries = parallel_entries if threads else serial_entries
        self._world, self._columns = scenario.world(), layout.first_columns()
        refuse_army(spec.n_entities, num_envs)
        self._battles, self._units = make_battles(num_envs), make_units(num_envs, spec.n_entities)
        self._pairs = make_pairs(num_envs, spec.n_entities)
        super().__init__(spec, scenario.compositions, num_envs, seed, device)
        self.scenario, self.layout = scenario, layout
        self.withheld = scenario.withheld

    @property
    def units(self) -> Records:
        """Live units of the kernels: UNIT [B, E] of `rules_state`. Read only; every step changes them."""
        return self._units

    @property
    def battles(self) -> Records:
        """Live battles of the kernels: BATTLE [B] of `rules_state`. Read only; every step changes them."""
        return self._battles

    @property
    def world(self) -> World:
        """Constants of the scenario for the kernels. Read only."""
        return self._world

    def snapshot(self, index: int) -> BattleSnapshot:
        """Return a copy of the current state of battle `index`."""
        battle = self._battles[index]
        return BattleSnapshot(
            map_size=float(self.scenario.map_size),
            steps=int(battle.steps),
            composition=self.compositions[battle.composition].label,
            outcome=_OUTCOMES[battle.ended],
            units=tuple(
                self._view(index, i) for i in range(self.entity_spec.n_entities) if self._units[index, i].kind >= 0
            ),
        )

    def _view(self, index: int, slot: int) -> UnitView:
        unit = self._units[index, slot]
        floats = ("x", "y", "radius", "health", "health_max", "shield", "shield_max", "energy", "energy_max")
        return UnitView(
            slot=slot,
            side=int(slot >= self.entity_spec.n_agents),
            type=self.scenario.types[unit.kind].name,
            tag=int(unit.tag),
            alive=bool(unit.alive),
            flies=bool(unit.flies),
            cooldown_s=max(float(unit.cooldown), 0.0) / LOOPS_PER_S,
            order=_ORDERS[unit.order],
            target=int(unit.target) if unit.target >= 0 else None,
            **{name: float(unit[name]) for name in floats},
        )

    def scene(self, index: int) -> Scene:
        """Return the current state of battle `index` for drawing. Labels are the tags that target actions refer to."""
        return self.snapshot(index).scene(float(self.scenario.sight_range))

    def make_scripted(self, name: str, seed: int) -> Callable[[TensorDictBase], TensorDictBase]:
        """Return a scripted policy of `mipi_pl.envs.battle.scripted`."""
        from mipi_pl.envs.battle.scripted import make_scripted  # imported here to compile only when needed

        return make_scripted(name, self, seed)

    def draw_only(self, sizes: Collection[int]) -> None:
        """Draw only compositions of these team sizes in the battles that begin from now on."""
        self._world.draws["cumulative"][:] = draw_limits(self.compositions, self.scenario.draw, sizes)

    def memory(self) -> dict[str, Tensor]:
        """Return the bytes of all battles and units."""
        return to_tensors(self._memory())

    def remember(self, memory: dict[str, Tensor]) -> None:
        """Restore the bytes that `memory` returned."""
        from_tensors(self._memory(), memory)

    def _memory(self) -> dict[str, np.ndarray]:
        return {"battles": self._battles, "units": self._units}

    def seed_rows(self, seeds: np.ndarray) -> None:
        """Set the state of each environment's random generator to its seed."""
        self._battles["random"] = seeds

    def begin(self, rows: Tensor, frame: Frame) -> None:
        """Start new battles in the rows that are True."""
        self._entries.begin(
            rows.numpy(), self._battles, self._units, self._pairs, self._world, self._columns, output_of(frame)
        )

    def advance(self, action: Tensor, frame: Frame) -> None:
        """Play one step in every running battle. Ended battles do not change and have reward 0."""
        played = np.ascontiguousarray(action.numpy())
        self._refuse_unavailable(played)
        self._entries.advance(
            played, self._battles, self._units, self._pairs, self._world, self._columns, output_of(frame)
        )

    def _refuse_unavailable(self, action: np.ndarray) -> None:
        if self.scenario.both_scripted:
            return
        unavailable = find_unavailable(action, self._battles, self._units, self._world)
        refuse_unavailable(unavailable, action, self._frame.action_mask, self.entity_spec)

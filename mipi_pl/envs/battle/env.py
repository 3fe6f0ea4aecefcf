"""BattleEnv: the battle simulator as a batched TorchRL environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from tensordict import TensorDictBase
from torch import Tensor

from mipi_pl.envs.base import EntityEnv, Frame
from mipi_pl.envs.battle.rules import find_unavailable, parallel_entries, serial_entries
from mipi_pl.envs.battle.rules_state import World, make_battles, make_pairs, make_units
from mipi_pl.envs.battle.scenario import Scenario, fixed_army, type_groups
from mipi_pl.envs.battle.snapshot import BattleSnapshot, UnitView
from mipi_pl.envs.battle.units import LOOPS_PER_S
from mipi_pl.envs.composition import TypeGroup
from mipi_pl.envs.kernels.records import Records, from_tensors, output_of, refuse_unavailable, to_tensors
from mipi_pl.envs.scene import Scene
from mipi_pl.envs.split import Mix, Split
from mipi_pl.spec import EntitySpec

_OUTCOMES = ("going on", "lost", "time is up", "won", "drawn")
_WORTH_THREADS = 256  # battles
_ORDERS = ("idle", "move", "attack", "heal")


class BattleEnv(EntityEnv):
    """Two armies of changing composition fight; the agents command one, a script the other.

    Args:
        groups: unit types that are mixed freely, each ``{types: [...], min: .., max: ..}``.
        team_sizes: numbers of agents that occur.
        capacity: A, agent slots and tags; fixed for a policy.
        num_envs: B, battles stepped at once.
        seed: equal seeds and actions give equal battles, bit for bit.
        device: of the returned tensors; the battle runs on the CPU.
        mixes: which mixes of these sizes occur: ``training`` (all that `split` does not hold out), ``held_out``,
            ``all``, or a list of mixes such as ``{stalker: 2, zealot: 1}``, beside which `team_sizes` means nothing.
        split: what training never draws, the fields of `mipi_pl.envs.split.Split`; None holds nothing out.
        enemies: a fixed army ``{type: how many}``; None: the agents' composition, changed by `enemy_delta`.
        enemy_delta: enemies more (or, negative, fewer) than agents; 0 is symmetric.
        draw: ``compositions`` draws uniformly over compositions, ``sizes`` over team sizes first.
        episode_limit: steps after which the battle is truncated.
        map_size: side of the square map.
        spawn_distance: between the armies' spawn points.
        jitter: largest shift, in x and in y, of each army's group of one type.
        sight_range: within which an agent sees others, from centre to centre.
        target_range: within which target actions are available, from centre to centre.
        acquisition_range: within which scripted units attack on sight, from centre to centre.
        loops_per_step: game loops in a step; there are 22.4 in a second.
        target_actions: ``tags`` has an attack (and a heal) for each tag, and the features show tags; a policy is then
            bound to its capacity. ``slots`` has one for each slot and shows no tag: policies score the entity in
            the slot and act in battles of any capacity.
        random_tags: deal tags at random each episode, else by slot.
        centre_of_mass_features: show positions relative to the centre of mass of all living units.
        kill_reward, win_reward: besides 1 for each point of damage to health and shields.
        best_return: what the reward is scaled to.
        reward_scale: ``largest`` gives `best_return` to the richest composition of `reward_reference_size` units,
            ``composition`` to each.
        reward_reference_size: None takes the capacity (or the largest army of the family, if that is smaller).
        both_scripted: the script commands the agents too; their actions are ignored.
        parallel: spread battles over threads; changes no result. None does so from 256 battles on, where waking the
            threads pays. Without it no thread is started, so the process may fork.

    Raises:
        ValueError: for impossible values, naming what is allowed.

    Examples:
        >>> env = BattleEnv([{"types": ["marine"], "min": 1, "max": 8}], team_sizes=[3], capacity=3, num_envs=2)
        >>> env.rollout(2)["entities"].shape
        torch.Size([2, 2, 6, 20])
    """

    scripted = ("random", "attack_nearest", "focus_fire")
    team_arguments = ("team_sizes", "mixes", "split")

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
            split=Split.of(split),
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
        threads = num_envs >= _WORTH_THREADS if parallel is None else parallel
        self._entries = parallel_entries if threads else serial_entries
        self._world, self._columns = scenario.world(), layout.first_columns()
        self._battles, self._units = make_battles(num_envs), make_units(num_envs, spec.n_entities)
        self._pairs = make_pairs(num_envs, spec.n_entities)
        super().__init__(spec, scenario.compositions, num_envs, seed, device)
        self.scenario, self.layout = scenario, layout
        self.withheld = scenario.withheld

    @property
    def units(self) -> Records:
        """UNIT [B, E] of `rules_state`, the live memory of the kernels: to be read only, it changes with every step."""
        return self._units

    @property
    def battles(self) -> Records:
        """BATTLE [B] of `rules_state`, likewise live."""
        return self._battles

    @property
    def world(self) -> World:
        """Constants of the scenario for the kernels, to be read only."""
        return self._world

    def snapshot(self, index: int) -> BattleSnapshot:
        """A copy of battle `index` as it stands."""
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
        """Battle `index` as it stands, to be drawn; labels are the tags that actions name."""
        return self.snapshot(index).scene(float(self.scenario.sight_range))

    def make_scripted(self, name: str, seed: int) -> Callable[[TensorDictBase], TensorDictBase]:
        """A simple player of `mipi_pl.envs.battle.scripted`."""
        from mipi_pl.envs.battle.scripted import make_scripted  # compiled for those who ask for it

        return make_scripted(name, self, seed)

    def memory(self) -> dict[str, Tensor]:
        """The bytes of all battles and units."""
        return to_tensors(self._memory())

    def remember(self, memory: dict[str, Tensor]) -> None:
        """Write them back."""
        from_tensors(self._memory(), memory)

    def _memory(self) -> dict[str, np.ndarray]:
        return {"battles": self._battles, "units": self._units}

    def seed_rows(self, seeds: np.ndarray) -> None:
        """Each battle's generator goes on from its own seed."""
        self._battles["random"] = seeds

    def begin(self, rows: Tensor, frame: Frame) -> None:
        """New battles in the rows that are True."""
        self._entries.begin(
            rows.numpy(), self._battles, self._units, self._pairs, self._world, self._columns, output_of(frame)
        )

    def advance(self, action: Tensor, frame: Frame) -> None:
        """One step of every battle; those that have ended stand still and pay nothing."""
        played = np.ascontiguousarray(action.numpy())
        self._refuse_unavailable(played)
        self._entries.advance(
            played, self._battles, self._units, self._pairs, self._world, self._columns, output_of(frame)
        )

    def _refuse_unavailable(self, action: np.ndarray) -> None:
        if self.scenario.both_scripted:
            return
        found = find_unavailable(action, self._battles, self._units, self._world)
        refuse_unavailable(found, action, self._frame.action_mask, self.entity_spec)

"""Our side of the comparison of battles.

python benchmarks/peers/battle_ours.py rules --episodes 500
python benchmarks/peers/battle_ours.py speed --seconds 5
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from battle_questions import KINDS, MAPS, Order, Placed
from battle_side import main, timed
from tensordict import TensorDict

ROOT = Path(__file__).resolve().parents[2]
for folder in ("", "benchmarks", "tests/references"):
    sys.path.insert(0, str(ROOT / folder))

from arena import Arena  # noqa: E402
from env_steps import make  # noqa: E402

from mipi_pl import spec as keys  # noqa: E402
from mipi_pl.envs.battle.units import LOOPS_PER_S  # noqa: E402
from mipi_pl.envs.frame import Frame  # noqa: E402
from mipi_pl.evaluation.rollout import play  # noqa: E402

_EAST = 4


class Ours:
    """The battle of this repository as a `battle_questions.Simulator`.

    Each side has one more Marine, so that no battle ends.
    """

    kinds: Sequence[str] = KINDS
    maps: Sequence[str] = tuple(MAPS)
    loops_per_s = LOOPS_PER_S
    repeats = 1

    def begin(self, agents: Sequence[Placed], enemies: Sequence[Placed], scripted: bool) -> None:
        """See `battle_questions.Simulator`."""
        self.arena = Arena([*agents, ("marine", 1.0, 1.0)], [*enemies, ("marine", 31.0, 1.0)])
        self.sides = (self.arena.agents[: len(agents)], self.arena.enemies[: len(enemies)])
        battle = self.arena.env.battles[0]
        battle.agents_x, battle.agents_y = 9.0, 16.0
        if scripted:
            for unit in self.sides[1]:
                unit.cooldown, unit.speed = 0.0, self.arena.env.world.kinds[unit.kind].speed

    def move(self, agent: int, x: float, y: float) -> None:
        """See `battle_questions.Simulator`."""
        self.sides[0][agent].x, self.sides[0][agent].y = x, y

    def hurt(self, agent: int, amount: float) -> bool:
        """See `battle_questions.Simulator`."""
        unit = self.sides[0][agent]
        absorbed = min(float(unit.shield), amount)
        unit.shield, unit.health, unit.peace = unit.shield - absorbed, unit.health - (amount - absorbed), 0
        return bool(unit.shield_max > 0)

    def loop(self, orders: Mapping[int, Order]) -> None:
        """See `battle_questions.Simulator`."""
        actions = {}
        for agent, (order, target) in orders.items():
            action = {"east": _EAST, "attack": self.arena.attack(target)}.get(order)
            actions[agent] = self.arena.heal(target) if action is None else action
        try:
            self.arena.play(actions)
        except ValueError:  # raised before the step: the target is out of range or not valid for this unit
            self.arena.play()

    def life(self, side: int) -> list[float]:
        """See `battle_questions.Simulator`."""
        return [float(unit.health + unit.shield) if unit.alive else 0.0 for unit in self.sides[side]]

    def place(self, agent: int) -> tuple[float, float]:
        """See `battle_questions.Simulator`."""
        return float(self.sides[0][agent].x), float(self.sides[0][agent].y)

    def play(self, name: str, episodes: int) -> dict[str, float]:
        """See `battle_questions.Simulator`."""
        env = make(f"map_{name.lower()}", num_envs=episodes, seed=1)
        result = play(env, env.scripted_policy("attack_nearest"))
        return {"win_rate": float(result.won.float().mean()), "length": float(np.mean(result.length.numpy()))}


def speed(environments: int, seconds: float) -> Callable[[], dict[str, float]]:
    """Returns a turn that measures 3s5z with random legal actions: the kernel alone, then through TorchRL."""
    env = make("map_3s5z", num_envs=environments, seed=0)
    player = env.scripted_policy("random")
    empty, frame = TensorDict({}, [environments]), Frame.empty(environments, env.entity_spec)
    carrier = env.reset()

    def kernel() -> int:
        env.advance(player(empty)[keys.ACTION], frame)
        done = frame.terminated | frame.truncated
        if done.any():
            env.begin(done, frame)
        return environments

    def torchrl() -> int:
        nonlocal carrier
        carrier = env.step_and_maybe_reset(player(carrier))[1]
        return environments

    kernel(), torchrl()
    return lambda: {**timed(kernel, seconds), **timed(torchrl, seconds, "torchrl_")}


if __name__ == "__main__":
    main(Ours, speed)

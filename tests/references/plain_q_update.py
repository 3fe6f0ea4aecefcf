"""Updates of the value-based learners on a raw padded batch, by loops: double Q-learning, ELU mixers, VDN, CollaQ.

Written from the papers of REFIL (Iqbal et al. 2021) and CollaQ (Zhang et al. 2020). Batch, trunk, mixer and imaginary
objective are those of the plain MIPI.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import plain_losses as losses
import plain_networks as nets
import torch
from plain_update import PlainMIPI, Rows
from tensordict import TensorDictBase
from torch import Tensor


class PlainQLearning(PlainMIPI):
    """Agent and mixer, changed by `update`; without parameters of a mixer the joint value is the sum."""

    def update(self, batch: TensorDictBase) -> None:
        self._read(batch)
        self._choose_targets()
        self._descend(self._critic_loss(), ("agent", "mixer"))

    def _joint(self, parameters: nets.Parameters, n: int, t: int, utilities: list[Any]) -> Tensor:
        if any(name.startswith("mixer.") for name in parameters):
            return super()._joint(parameters, n, t, utilities)
        acting = [i for i in range(self.n_agents) if self._acts(n, t, i)]
        terms = [values[n, t, i] for values, _ in utilities for i in acting]
        return sum(terms, torch.zeros((), dtype=torch.float64))

    def _td_targets(self) -> list[list[Any]]:
        s, best = self.settings, {}
        own, target = self._utilities(self.parameters, None), self._utilities(self.targets, None)
        for key, row in own.items():
            allowed = [u for u in range(len(row)) if self.available[key][u]]
            best[key] = target[key][max(allowed, key=row.tolist().__getitem__)]
        found = []
        for n, length in enumerate(self.lengths):
            values = [self._joint(self.targets, n, t + 1, [(best, None)]) for t in range(length)]
            bootstraps = [not self._ends(n, t) for t in range(length)]
            rewards, free = list(self.batch["reward"][n, :length]), [0.0] * length
            found.append(losses.lambda_targets(rewards, values, free, bootstraps, s.gamma, s.td_lambda))
        return found


@dataclass
class PlainCollaQ(PlainQLearning):
    """Q_alone, which sees itself and what is no agent, and Q_collab, which sees all."""

    mara_weight: float = 1.0

    def update(self, batch: TensorDictBase) -> None:
        self._read(batch)
        self._choose_targets()
        self._descend(self._critic_loss() + self.mara_weight * self._mara(), ("agent", "mixer"))

    def _of(self, parameters: nets.Parameters, name: str, *, sees_agents: bool) -> Rows:
        trunk, found = nets.part(parameters, f"agent.trunk.{name}"), {}
        for n, length in enumerate(self.lengths):
            for i in range(self.n_agents):
                seen = [
                    [
                        bool(mask) and (sees_agents or j == i or j >= self.n_agents)
                        for j, mask in enumerate(self.visible[n, t, i])
                    ]
                    for t in range(length + 1)
                ]
                rows, _ = nets.trunk(trunk, self.entities[n], i, seen, self.settings.heads, self._all_acts(n, i))
                found |= {(n, t, i): (row, seen[t]) for t, row in enumerate(rows)}
        return self._scores(parameters, f"agent.utilities.{name}", found)

    def _utilities(self, parameters: nets.Parameters, partition: tuple[int, bool] | None) -> Rows:
        assert partition is None or self.settings.imaginary_weight == 0.0
        alone = self._of(parameters, "alone", sees_agents=False)
        collab = self._of(parameters, "collab", sees_agents=True)
        return {key: alone[key] + collab[key] for key in alone}

    def _mara(self) -> Tensor:
        collab = self._of(self.parameters, "collab", sees_agents=False)
        loss = self._mean([collab[key][self.action[key]] ** 2 for key in self._keys()])
        self.metrics["loss/mara"] = loss.detach()
        return loss

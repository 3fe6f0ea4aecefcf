"""MAPPO as loops over episodes, steps and agents (Schulman et al. 2016, 2017; Yu et al. 2022), on lists of numbers.

One whole update on a raw padded batch, with the networks of `plain_networks`; plain descent stands for the optimizers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import plain_losses as losses
import plain_networks as nets
import torch
from plain_update import PlainMIPI, Rows
from tensordict import TensorDictBase
from torch import Tensor


def advantages(
    rewards: Sequence[float],
    values: Sequence[float],
    next_values: Sequence[float],
    bootstraps: Sequence[bool],
    gamma: float,
    gae_lambda: float,
) -> list[float]:
    """GAE of one episode, as the sum of all later TD errors, each discounted by (gamma lambda) per step."""
    errors = [
        r + (gamma * after if on else 0.0) - v
        for r, v, after, on in zip(rewards, values, next_values, bootstraps, strict=True)
    ]
    return [sum((gamma * gae_lambda) ** k * error for k, error in enumerate(errors[t:])) for t in range(len(errors))]


def normalized(advantage: dict[tuple[int, int, int], float]) -> dict[tuple[int, int, int], float]:
    """One advantage for each decision, less their mean, over their deviation."""
    if not advantage:
        return {}
    mean = sum(advantage.values()) / len(advantage)
    deviation = math.sqrt(sum((a - mean) ** 2 for a in advantage.values()) / len(advantage))
    return {key: (a - mean) / (deviation + 1e-5) for key, a in advantage.items()}


def surrogate(ratio: Tensor, advantage: float, clip: float) -> Tensor:
    """What one decision adds to the loss."""
    clipped = torch.clamp(ratio, 1 - clip, 1 + clip)
    return -torch.min(ratio * advantage, clipped * advantage)


def value_error(value: Tensor, old: float, target: float, clip: float | None, huber: float | None) -> Tensor:
    """What one step adds to the critic's loss."""

    def loss(estimate: Tensor) -> Tensor:
        error = abs(estimate - target)
        if huber is not None and float(error.detach()) > huber:
            return huber * (error - huber / 2)
        return error**2 / 2

    if clip is None:
        return loss(value)
    moved = max(-clip, min(clip, float(value.detach()) - old))
    within = abs(float(value.detach()) - old) <= clip
    return torch.max(loss(value), loss(value if within else torch.tensor(old + moved, dtype=value.dtype)))


@dataclass
class ReturnStatistics:
    """Mean and deviation of all returns so far, those of each batch weighing `decay` times less than the next one's."""

    decay: float
    batches: list[tuple[float, float]] = field(default_factory=list)

    def add(self, returns: Sequence[float]) -> None:
        self.batches.append((sum(returns) / len(returns), sum(r * r for r in returns) / len(returns)))

    def mean_and_deviation(self) -> tuple[float, float]:
        if not self.batches:
            return 0.0, math.sqrt(1e-5)
        weights = [self.decay ** (len(self.batches) - 1 - k) for k in range(len(self.batches))]
        mean, square = (
            sum(w * batch[k] for w, batch in zip(weights, self.batches, strict=True)) / sum(weights) for k in (0, 1)
        )
        return mean, math.sqrt(max(square - mean * mean, 1e-5))


def critic_values(
    p: nets.Parameters,
    entities: Sequence[Sequence[Tensor]],
    present: Sequence[Sequence[bool]],
    heads: int,
    divide_by: int,
    state: Tensor | None = None,
) -> tuple[list[Tensor], list[Tensor]]:
    """Values of the steps of a sequence, and of a recurrent critic the states after each, from `state` on."""
    rows = [pooled(p, *step, heads, divide_by) for step in zip(entities, present, strict=True)]
    if "team.weight" in p:
        return [nets.linear(p, "value", nets.relu(nets.linear(p, "team", row)))[0] for row in rows], []
    found, _ = nets.recur(nets.part(p, "team"), rows, None, state)
    states = [after for after in found if after is not None]
    return [nets.linear(p, "value", after)[0] for after in states], states


def pooled(
    p: nets.Parameters, entities: Sequence[Tensor], present: Sequence[bool], heads: int, divide_by: int
) -> Tensor:
    """Each present entity attends to all present ones; a layer; their sum."""
    total = torch.zeros(len(p["entity.bias"]), dtype=p["entity.bias"].dtype)
    for j in range(len(entities)):
        if present[j]:
            gathered = nets.attend(nets.part(p, "attention"), entities, j, present, heads)
            total = total + nets.relu(nets.linear(p, "entity", gathered)) / divide_by
    return total


@dataclass
class PPOSettings:
    """Options of the update, under the names of `MIPIPPO`."""

    heads: int
    capacity: int
    learning_rate: float
    gradient_clip: float
    max_steps: int
    regularizer: str = "none"
    alpha: float = 0.03
    priced: str | None = None
    marginal_teams: str = "imaginary"
    gamma: float = 0.99
    gae_lambda: float = 0.95
    clip: float = 0.2
    epochs: int = 2
    marginal_epochs: int | None = None
    minibatches: int = 1
    entropy_bonus: float = 0.01
    value_clip: float | None = 0.2
    huber_delta: float | None = 10.0
    value_decay: float | None = 0.9
    truncation_is_terminal: bool = True
    own_entity_only: bool = False
    targets: tuple[str, ...] = ()


class PlainMAPPO(PlainMIPI):
    """Reading of batches and networks of agents are those of `PlainMIPI`."""

    def __init__(self, parameters: nets.Parameters, settings: PPOSettings) -> None:
        super().__init__(parameters, {}, settings)  # type: ignore[arg-type]
        self.memory: dict[tuple[str, int, int], Tensor] = {}
        self.returns_seen = ReturnStatistics(settings.value_decay or 0.0)

    def update(self, batch: TensorDictBase, parts: Sequence[Sequence[Sequence[int]]] = ()) -> None:
        """Look back once, then learn from each part of each epoch."""
        self._read(batch)
        played_by = batch["environment"].tolist()
        self.began = {
            (name, n, i): state
            for n, b in enumerate(played_by)
            for (name, of, i), state in self.memory.items()
            if of == b and self.first[n]
        }
        with torch.no_grad():
            self._look_back()
        # The last sequence of each environment is the one that the next rollout goes on with.
        self.memory = {(name, played_by[n], i): state for (name, n, i), state in self.ended.items()}
        learning = self.settings.marginal_epochs or self.settings.epochs
        for epoch, minibatches in enumerate(parts):
            for chosen in minibatches:
                self.chosen = set(chosen)
                if self.settings.regularizer == "mutual_information" and epoch < learning:
                    self._descend(self._marginal_loss_of(epoch), ("marginal",))
                self._descend(self._actor_loss(), ("agent.trunk", "agent.policy_logits"))
                self._descend(self._value_loss(), ("critic",))

    def _all_acts(self, n: int, i: int) -> list[bool]:
        """Nobody in the last observation: it is the first one of the next rollout."""
        return [*super()._all_acts(n, i)[:-1], False]

    def _values(self, n: int) -> list[Tensor]:
        s, length = self.settings, self.lengths[n]
        critic, present = nets.part(self.parameters, "critic"), self.present[n, : length + 1].tolist()
        state = self.began.get(("critic", n, 0))
        values, states = critic_values(critic, self.entities[n], present, s.heads, s.capacity, state)
        if states and length:
            self.ended["critic", n, 0] = states[length - 1]
        return values

    def _look_back(self) -> None:
        s = self.settings
        log_pi, log_marginal = self._log_policy(self._all_features(self.parameters, None)), self._log_marginal()
        decided = set(self._keys())
        mean, deviation = self.returns_seen.mean_and_deviation() if s.value_decay else (0.0, 1.0)
        self.old = {key: float(log_pi[key][int(self.action[key])]) for key in decided}
        self.given, self.returns, by_decision = {}, {}, {}
        for n, length in enumerate(self.lengths):
            rewards, bootstraps = [], []
            for t in range(length):
                paid = 0.0
                for i in range(self.n_agents):
                    key = (n, t, i)
                    if key in decided:
                        paid += self._penalty_of(int(self.action[key]), log_pi[key], log_marginal, key)
                rewards.append(float(self.batch["reward"][n, t]) - s.alpha * paid)
                bootstraps.append(not self._ends(n, t))
            given = [float(value) for value in self._values(n)]
            values = [mean + deviation * v for v in given]
            found = advantages(rewards, values[:-1], values[1:], bootstraps, s.gamma, s.gae_lambda)
            for t in range(length):
                self.given[n, t], self.returns[n, t] = given[t], found[t] + values[t]
                by_decision |= {(n, t, i): found[t] for i in range(self.n_agents) if (n, t, i) in decided}
        self.advantage = normalized(by_decision)
        self.returns_seen.add(list(self.returns.values()))
        self.metrics["value/mean"] = torch.tensor(
            sum(mean + deviation * v for v in self.given.values()) / len(self.given)
        )

    def _penalty_of(self, u: int, log_pi: dict[int, Tensor], log_marginal: Rows | None, key: Any) -> float:
        """The penalty of an action, or of the part of it that is priced."""
        s, other = self.settings, log_marginal[key] if log_marginal else None
        whole = float(losses.penalty(s.regularizer, log_pi, other)[u])
        if s.priced is None:
            return whole
        alike = [v for v in log_pi if self._kind(v) == self._kind(u)]
        of_kind = math.log(sum(math.exp(log_pi[v]) for v in alike))
        if other is not None:
            of_kind -= math.log(sum(math.exp(other[v]) for v in alike))
        return of_kind if s.priced == "kind" else whole - of_kind

    def _kind(self, u: int) -> tuple[str, int]:
        """Fixed actions come first, then a block of actions for each group that is aimed at."""
        n_entities = len(self.entities[0][0])
        blocks = [self.n_agents if group == "agents" else n_entities - self.n_agents for group in self.settings.targets]
        end = self.available.shape[-1]
        for group, size in reversed(list(enumerate(blocks))):
            if u >= (end := end - size):
                return "aimed", group
        return "fixed", u

    def _chosen_keys(self) -> list[tuple[int, int, int]]:
        return [key for key in self._keys() if key[0] in self.chosen]

    def _marginal_loss_of(self, epoch: int) -> Tensor:
        imaginary = self.settings.marginal_teams == "imaginary"
        with torch.no_grad():
            log_team = self._log_policy(self._all_features(self.parameters, (epoch, True) if imaginary else None))
        log_marginal = self._log_marginal()
        assert log_marginal is not None
        return self._mean([-losses.expectation(log_team[key], log_marginal[key]) for key in self._chosen_keys()])

    def _actor_loss(self) -> Tensor:
        log_pi: Rows = self._log_policy(self._all_features(self.parameters, None))
        terms: list[Any] = []
        for key in self._chosen_keys():
            ratio = torch.exp(log_pi[key][int(self.action[key])] - self.old[key])
            entropy = -losses.expectation(log_pi[key], log_pi[key])
            gain = surrogate(ratio, self.advantage[key], self.settings.clip)
            terms.append(gain - self.settings.entropy_bonus * entropy)
        return self._mean(terms)

    def _value_loss(self) -> Tensor:
        s = self.settings
        mean, deviation = self.returns_seen.mean_and_deviation() if s.value_decay else (0.0, 1.0)
        terms = []
        for n in sorted(self.chosen):
            for t, value in enumerate(self._values(n)[:-1]):
                normal = (self.returns[n, t] - mean) / deviation
                terms.append(value_error(value, self.given[n, t], normal, s.value_clip, s.huber_delta))
        return self._mean(terms)

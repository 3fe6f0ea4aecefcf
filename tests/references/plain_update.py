"""A whole MIPI update on a raw padded batch: loops over episodes, steps, agents and entities; gradients by autograd.

Written from section 4 of the paper; stochastic gradient descent stands for the optimizers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import plain_losses as losses
import plain_networks as nets
import torch
from tensordict import TensorDictBase
from torch import Tensor

Rows = dict[tuple[int, int, int], Any]
"""Values by (episode, step, agent)."""


@dataclass
class Settings:
    """Options of the update, under the names of `MIPI`."""

    heads: int
    capacity: int
    learning_rate: float
    gradient_clip: float
    max_steps: int
    linear: bool = True
    pool: str = "slots"
    regularizer: str = "mutual_information"
    alpha: float = 0.03
    alpha_i: float = 0.03
    temperature: str = "constant"
    uniform_share: float = 0.0
    gamma: float = 0.99
    td_lambda: float = 0.0
    imaginary_weight: float = 0.5
    iterations: int = 2
    marginal_teams: str = "imaginary"
    policy_steps: int = 1
    policy_divergence: str = "reverse"
    policy_moves_trunk: bool = False
    truncation_is_terminal: bool = True
    target_networks: bool = True
    own_entity_only: bool = False
    targets: tuple[str, ...] = ()


@dataclass
class PlainMIPI:
    """Parameters of agent, marginal and mixer (and of the targets), changed by `update`."""

    parameters: nets.Parameters
    targets: nets.Parameters
    settings: Settings
    metrics: dict[str, Tensor] = field(default_factory=dict)
    began: dict[tuple[str, int, int], Tensor] = field(default_factory=dict)
    """Recurrent states before the first steps, by network, episode and agent; zeros where there are none."""
    ended: dict[tuple[str, int, int], Tensor] = field(default_factory=dict)
    """The same after the last steps, when the networks last went through the batch."""

    def update(self, batch: TensorDictBase) -> None:
        """(16), then alternately (17) and (18)."""
        self._read(batch)
        s = self.settings
        self._choose_targets()
        self._descend(self._critic_loss(), ("agent.trunk", "agent.utilities", "mixer"))
        # Utilities are held fixed while the policy improves.
        utilities = {key: row.detach() for key, row in self._utilities(self.parameters, None).items()}
        temperatures = self._temperatures()
        for m in range(s.iterations):
            if s.regularizer == "mutual_information":
                self._descend(self._marginal_loss(m), ("marginal",), "marginal")
            moved = ("agent.policy_logits", *(["agent.trunk"] if s.policy_moves_trunk else []))
            for _ in range(s.policy_steps):
                self._descend(self._policy_loss(utilities, temperatures), moved, "policy")

    def _choose_targets(self) -> None:
        if not self.settings.target_networks:
            self.targets = self.parameters

    # ------------------------------------------------------------------ the batch

    def _read(self, batch: TensorDictBase) -> None:
        self.batch = batch
        self.visible, self.available = batch["agents", "visible"], batch["agents", "action_mask"]
        self.action, self.present, self.groups = batch["agents", "action"], batch["present"], batch["imaginary_groups"]
        self.lengths = [int(row.sum()) for row in batch["valid"]]
        self.first = batch["first_step"].tolist() if "first_step" in batch else [0] * len(self.lengths)
        self.n_agents = self.action.shape[-1]
        sizes = (self.n_agents, self.available.shape[-1], self.settings.targets)
        self.entities = [
            [
                nets.with_last_action(batch["entities"][n, t], self._action_before(n, t), *sizes)
                for t in range(length + 1)
            ]
            for n, length in enumerate(self.lengths)
        ]

    def _action_before(self, n: int, t: int) -> list[int] | None:
        if t:
            return self.action[n, t - 1].tolist()
        return self.batch["agents", "previous_action"][n].tolist() if self.first[n] else None

    def _acts(self, n: int, t: int, i: int) -> bool:
        return bool(self.visible[n, t, i, i])

    def _keys(self) -> list[tuple[int, int, int]]:
        """Decisions that were taken: those of living agents in played steps."""
        return [
            (n, t, i)
            for n, length in enumerate(self.lengths)
            for t in range(length)
            for i in range(self.n_agents)
            if self._acts(n, t, i)
        ]

    def _all_acts(self, n: int, i: int) -> list[bool]:
        return [self._acts(n, t, i) for t in range(self.lengths[n] + 1)]

    # ------------------------------------------------------------------ networks

    def _all_features(self, parameters: nets.Parameters, partition: tuple[int, bool] | None) -> Rows:
        """Features of every agent, and what it saw; `partition` is (number, within) or None for all that is seen."""
        trunk, found = nets.part(parameters, "agent.trunk"), {}
        for n, length in enumerate(self.lengths):
            for i in range(self.n_agents):
                seen = [self._restricted(self._seen(n, t, i), n, i, partition) for t in range(length + 1)]
                began = self.began.get(("policy", n, i))
                rows, last = nets.trunk(
                    trunk, self.entities[n], i, seen, self.settings.heads, self._all_acts(n, i), began
                )
                if partition is None:
                    self.ended["policy", n, i] = last
                found |= {(n, t, i): (row, seen[t]) for t, row in enumerate(rows)}
        return found

    def _scores(self, parameters: nets.Parameters, head: str, features: Rows) -> Rows:
        p, sizes = nets.part(parameters, head), (self.n_agents, self.settings.targets)
        return {
            (n, t, i): nets.action_scores(p, row, self.entities[n][t], seen, *sizes, i)
            for (n, t, i), (row, seen) in features.items()
        }

    def _seen(self, n: int, t: int, i: int) -> list[bool]:
        mask = self.visible[n, t, i].tolist()
        return [seen and j == i for j, seen in enumerate(mask)] if self.settings.own_entity_only else mask

    def _utilities(self, parameters: nets.Parameters, partition: tuple[int, bool] | None) -> Rows:
        return self._scores(parameters, "agent.utilities", self._all_features(parameters, partition))

    def _restricted(self, mask: list[bool], n: int, i: int, partition: tuple[int, bool] | None) -> list[bool]:
        if partition is None:
            return mask
        number, within = partition
        return losses.restrict(mask, i, self.groups[n, number].tolist(), within)

    def _log_policy(self, features: Rows) -> Rows:
        logits = self._scores(self.parameters, "agent.policy_logits", features)
        return {key: losses.log_probabilities(row, self.available[key].tolist()) for key, row in logits.items()}

    def _log_marginal(self) -> Rows | None:
        if self.settings.regularizer != "mutual_information":
            return None
        parameters, found = nets.part(self.parameters, "marginal"), {}
        for n, length in enumerate(self.lengths):
            for i in range(self.n_agents):
                own = [self.entities[n][t][i] for t in range(length + 1)]
                sizes = (self.n_agents, len(self.entities[n][0]), self.settings.targets)
                began = self.began.get(("marginal", n, i))
                logits, last = nets.marginal_logits(parameters, own, *sizes, self._all_acts(n, i), began)
                self.ended["marginal", n, i] = last
                found |= {
                    (n, t, i): losses.log_probabilities(row, self.available[n, t, i].tolist())
                    for t, row in enumerate(logits)
                }
        return found

    def _joint(
        self, parameters: nets.Parameters, n: int, t: int, utilities: list[tuple[Rows, tuple[int, bool] | None]]
    ) -> Tensor:
        present = self.present[n, t].tolist()
        full = [[present[i] and p for p in present] for i in range(self.n_agents)]
        pairs = [
            (
                [values[n, t, i] for i in range(self.n_agents)],
                [self._restricted(full[i], n, i, partition) for i in range(self.n_agents)],
            )
            for values, partition in utilities
        ]
        divide_by = self.settings.capacity if self.settings.pool == "slots" else sum(present[: self.n_agents])
        return nets.mix(
            nets.part(parameters, "mixer"),
            self.entities[n][t],
            pairs,
            full,
            [self._acts(n, t, i) for i in range(self.n_agents)],
            self.settings.heads,
            self.settings.linear,
            divide_by,
        )

    # ------------------------------------------------------------------ losses

    def _critic_loss(self) -> Tensor:
        with torch.no_grad():
            targets = self._td_targets()
        chosen = [(self._chosen(None), None)]
        imagined = [(self._chosen((0, within)), (0, within)) for within in (True, False)]
        squares, imagined_squares = [], []
        for n, length in enumerate(self.lengths):
            for t in range(length):
                squares.append((self._joint(self.parameters, n, t, chosen) - targets[n][t]) ** 2)
                imagined_squares.append((self._joint(self.parameters, n, t, imagined) - targets[n][t]) ** 2)
        loss, loss_imagined = sum(squares) / len(squares), sum(imagined_squares) / len(squares)
        weight = self.settings.imaginary_weight
        self.metrics |= {"loss/td": loss.detach(), **({"loss/imagined": loss_imagined.detach()} if weight else {})}
        return (1 - weight) * loss + weight * loss_imagined

    def _chosen(self, partition: tuple[int, bool] | None) -> Rows:
        return {key: row[self.action[key]] for key, row in self._utilities(self.parameters, partition).items()}

    def _td_targets(self) -> list[list[Any]]:
        """Expected targets: the mixer being linear, the joint value of the agents' expectations."""
        s = self.settings
        log_pi, log_marginal = self._log_policy(self._all_features(self.parameters, None)), self._log_marginal()
        expected, costs = {}, {}
        for key, row in self._utilities(self.targets, None).items():
            expected[key] = losses.expectation(log_pi[key], row)
            other = None if log_marginal is None else log_marginal[key]
            costs[key] = losses.expectation(log_pi[key], self._penalty(log_pi[key], other))
        found = []
        for n, length in enumerate(self.lengths):
            rewards, values, paid, goes_on = [], [], [], []
            for t in range(length):
                cost = s.alpha * sum(
                    (costs[n, t + 1, i] for i in range(self.n_agents) if self._acts(n, t + 1, i)), torch.zeros(())
                )
                rewards.append(self.batch["reward"][n, t])
                values.append(self._joint(self.targets, n, t + 1, [(expected, None)]) - cost)
                paid.append(cost)
                goes_on.append(not self._ends(n, t))
            found.append(losses.lambda_targets(rewards, values, paid, goes_on, s.gamma, s.td_lambda))
        return found

    def _ends(self, n: int, t: int) -> bool:
        """Whether step t has no value after it; an episode that is truncated before the time limit has."""
        s = self.settings
        limit = bool(self.batch["truncated"][n, t]) and self.first[n] + t + 1 == s.max_steps
        return bool(self.batch["terminated"][n, t]) or (limit and s.truncation_is_terminal)

    def _marginal_loss(self, m: int) -> Tensor:
        imaginary = self.settings.marginal_teams == "imaginary"
        with torch.no_grad():
            log_team = self._log_policy(self._all_features(self.parameters, (1 + m, True) if imaginary else None))
        log_marginal = self._log_marginal()
        terms = [-losses.expectation(log_team[key], log_marginal[key]) for key in self._keys()]
        return self._mean(terms)

    def _penalty(self, log_pi: dict[int, Tensor], log_marginal: dict[int, Tensor] | None) -> dict[int, Tensor]:
        share = self.settings.uniform_share
        softened = losses.softened(log_pi, share), losses.softened(log_marginal, share)
        return losses.penalty(self.settings.regularizer, *softened)

    def _temperatures(self) -> Rows:
        """alpha_i, or divided by the slope of the joint value in the agent's utility."""
        s, found = self.settings, {}
        for n, t, i in self._keys():
            found[n, t, i] = s.alpha_i
            if s.temperature == "by_weight":
                ones = {(n, t, j): torch.ones((), dtype=torch.float64).requires_grad_() for j in range(self.n_agents)}
                joint = self._joint(self.parameters, n, t, [(ones, None)])
                found[n, t, i] /= float(torch.autograd.grad(joint, ones[n, t, i])[0])
        return found

    def _policy_loss(self, utilities: Rows, temperatures: Rows) -> Tensor:
        s = self.settings
        log_pi = self._log_policy(self._all_features(self.parameters, None))
        with torch.no_grad():
            log_marginal = self._log_marginal()
        terms = []
        for key in self._keys():
            prior = None if log_marginal is None else log_marginal[key]
            if s.policy_divergence == "forward":
                improved = losses.exact_optimum(
                    s.regularizer,
                    losses.softened(prior, s.uniform_share),
                    utilities[key],
                    temperatures[key],
                    self.available[key],
                )
                terms.append(-sum(share * log_pi[key][u] for u, share in improved.items()))
                continue
            cost = self._penalty(log_pi[key], prior)
            values = {u: temperatures[key] * cost[u] - utilities[key][u] for u in cost}
            terms.append(losses.expectation(log_pi[key], values))
        return self._mean(terms)

    @staticmethod
    def _mean(terms: list[Tensor]) -> Tensor:
        return sum(terms) / len(terms) if terms else torch.zeros(())

    def _descend(self, loss: Tensor, moved: tuple[str, ...], name: str | None = None) -> None:
        """Plain gradient descent with the norm clipped."""
        if name is not None:
            self.metrics[f"loss/{name}"] = loss.detach()
        if not loss.requires_grad:
            return
        names = [key for key in self.parameters if key.startswith(tuple(f"{prefix}." for prefix in moved))]
        found = torch.autograd.grad(loss, [self.parameters[key] for key in names], allow_unused=True)
        norm = sum((g**2).sum() for g in found if g is not None) ** 0.5
        scale = min(1.0, self.settings.gradient_clip / (float(norm) + 1e-6))
        for key, gradient in zip(names, found, strict=True):
            if gradient is not None:
                moved_to = self.parameters[key].detach() - self.settings.learning_rate * scale * gradient
                self.parameters[key] = moved_to.requires_grad_()

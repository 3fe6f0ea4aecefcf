"""MIPI without its optimizations: the baseline of `benchmarks/learner_updates.py`.

One view at a time, with projections of its own (queries, keys and values of all entities, as REFIL's code makes them);
a GRU cell in a loop; padded steps; all hypernetworks anew for each view; the marginal attends over its single entity;
its forward pass is repeated for each loss. Mathematics and parameters are those of `MIPI`, whose names it takes over,
and a test holds both equal.
"""

from __future__ import annotations

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn

from mipi_pl.algorithms.mipi import MIPI
from mipi_pl.models.agent import EntityAgent
from mipi_pl.models.attention import EntityAttention
from mipi_pl.models.mixers import AttentionMixer, Hypernetwork
from mipi_pl.models.trunk import Recurrence


def attend(net: EntityAttention, inputs: Tensor, view: Tensor) -> Tensor:
    """Multi-head attention [N,S,A,width] of the first A entities of [N,S,E,I] under one mask [N,S,A,E]."""
    n, s, agents, entities = view.shape
    embedded = torch.relu(net.embed(inputs))
    key, value = net.key_value(embedded).chunk(2, dim=-1)
    query = net.query(embedded)[:, :, :agents].reshape(n, s, agents, net.heads, -1).transpose(2, 3)
    key = key.reshape(n, s, entities, net.heads, -1).transpose(2, 3)
    value = value.reshape(n, s, entities, net.heads, -1).transpose(2, 3)
    scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    weights = scores.masked_fill(~view.unsqueeze(2), -1e9).softmax(dim=-1)
    mixed = (weights @ value).transpose(2, 3).reshape(n, s, agents, -1)
    return mixed * view.any(dim=-1, keepdim=True)


def linear(head: nn.Linear, features: Tensor) -> Tensor:
    """Scores of actions that aim at no entity."""
    return nn.functional.linear(features, head.weight, head.bias)


def recur(net: Recurrence, rows: Tensor, acting: Tensor) -> Tensor:
    """A GRU cell in a loop over [N,S,A,width]; the state of an agent that does not act [N,S,A] waits."""
    gru = net.gru
    gates = torch.relu(net.linear(rows))
    state = gates.new_zeros(gates.shape[0] * gates.shape[2], gates.shape[3])
    states = []
    for t in range(gates.shape[1]):
        after = torch.gru_cell(
            gates[:, t].flatten(0, 1), state, gru.weight_ih_l0, gru.weight_hh_l0, gru.bias_ih_l0, gru.bias_hh_l0
        )
        state = torch.where(acting[:, t].flatten().unsqueeze(-1), after, state)
        states.append(state.view(gates.shape[0], gates.shape[2], -1))
    return torch.stack(states, dim=1)


class PaddedMIPI(MIPI):
    """MIPI with expected one-step targets, imaginary teams and mutual information, computed the plain way."""

    def training_step(self, batch: TensorDictBase, batch_idx: int) -> None:
        """As in `MIPI`."""
        self._read(batch)
        self._evaluate()
        self._improve()
        self._updates += 1

    def _read(self, batch: TensorDictBase) -> None:
        action, entities = batch["agents", "action"], batch["entities"]
        self.visible, self.available = batch["agents", "visible"], batch["agents", "action_mask"]
        n_agents, n_actions = self.available.shape[2:]
        one_hot = nn.functional.one_hot(action, n_actions).to(entities)
        before = torch.cat((torch.zeros_like(one_hot[:, :1]), one_hot[:, :-1]), dim=1)
        others = before.new_zeros(*before.shape[:2], entities.shape[2] - n_agents, n_actions)
        self.inputs = torch.cat((entities, torch.cat((before, others), dim=2)), dim=-1)
        present = batch["present"]
        self.present = present[:, :, :n_agents, None] & present[:, :, None]
        self.acting = self.visible[..., :n_agents].diagonal(dim1=-2, dim2=-1)
        self.valid, self.groups, self.action = batch["valid"], batch["imaginary_groups"], action
        limit = torch.arange(1, len(entities[0]) + 1) == self.spec.max_steps
        self.reward, self.ended = batch["reward"], batch["terminated"] | batch["truncated"] & limit
        self.deciding = self.acting & self.valid.unsqueeze(-1)

    def _same(self, k: int) -> Tensor:
        groups = self.groups[:, None, k]
        return groups[..., : self.acting.shape[-1], None] == groups[..., None, :]

    def _view(self, view: Tensor, agent: EntityAgent) -> Tensor:
        return recur(agent.trunk.recurrence, attend(agent.trunk.attention, self.inputs, view), self.acting)

    def _policy(self, features: Tensor) -> Tensor:
        return linear(self.agent.policy_logits, features).masked_fill(~self.available, -1e9).log_softmax(dim=-1)

    def _marginal_policy(self) -> Tensor:
        net, own = self.marginal, self.inputs[:, :, : self.acting.shape[-1]]
        embedded = torch.relu(net.embed(own))
        # Any query and key give weight 1 to the single entity, so those of the agents will do.
        attention = self.agent.trunk.attention
        query, value = attention.query(embedded).unsqueeze(-2), net.value(embedded).unsqueeze(-2)
        key = nn.functional.linear(embedded, attention.key_value.weight[: query.shape[-1]]).unsqueeze(-2)
        weights = (query @ key.transpose(-1, -2)).softmax(dim=-1)
        features = recur(net.recurrence, (weights @ value).squeeze(-2), self.acting)
        return linear(net.logits, features).masked_fill(~self.available, -1e9).log_softmax(dim=-1)

    def _pooled(self, net: Hypernetwork) -> Tensor:
        rows = net.linear(attend(net.attention, self.inputs, self.present)) * self.present.any(-1, keepdim=True)
        return rows.sum(dim=2) / self.mixer.n_agents

    def _joint(self, mixer: AttentionMixer, sets: list[tuple[Tensor, Tensor]]) -> Tensor:
        hidden: Tensor | float = 0.0
        for utilities, view in sets:
            first = mixer.first.linear(attend(mixer.first.attention, self.inputs, view)).softmax(dim=-1)
            bias, value = self._pooled(mixer.bias), self._pooled(mixer.value)
            final = self._pooled(mixer.final).softmax(dim=-1)
            hidden = hidden + ((utilities * self.acting).unsqueeze(-1) * first).sum(dim=2)
        hidden = hidden + bias
        return (hidden * final).sum(dim=-1) + value.squeeze(-1)

    def _evaluate(self) -> None:
        target = self._targets_of()
        views = {"full": None, "within": self._same(0), "interact": ~self._same(0)}
        sets = {}
        for name, same in views.items():
            seen, all_present = (mask if same is None else mask & same for mask in (self.visible, self.present))
            utilities = linear(self.agent.utilities, self._view(seen, self.agent))
            sets[name] = (utilities.gather(-1, self.action.unsqueeze(-1)).squeeze(-1), all_present)
        played = self.valid[:, :-1]
        loss_td, loss_imagined = (
            (((self._joint(self.mixer, chosen)[:, :-1] - target) ** 2) * played).sum() / played.sum()
            for chosen in ([sets["full"]], [sets["within"], sets["interact"]])
        )
        self.descend("critic", (1 - self.imaginary_weight) * loss_td + self.imaginary_weight * loss_imagined)

    @torch.no_grad()
    def _targets_of(self) -> Tensor:
        log_pi, log_marginal = self._policy(self._view(self.visible, self.agent)), self._marginal_policy()
        utilities = linear(self.target_agent.utilities, self._view(self.visible, self.target_agent))
        utility = (log_pi.exp() * utilities).sum(dim=-1)
        cost = self.alpha * ((log_pi.exp() * (log_pi - log_marginal)).sum(dim=-1) * self.acting).sum(dim=-1)
        value = self._joint(self.target_mixer, [(utility, self.present)]) - cost
        return self.reward[:, :-1] + self.gamma * value[:, 1:].masked_fill(self.ended[:, :-1], 0.0)

    def _improve(self) -> None:
        with torch.no_grad():
            features = self._view(self.visible, self.agent)
            utilities = linear(self.agent.utilities, features)
        count = self.deciding.sum().clamp(min=1)
        for m in range(self.iterations):
            with torch.no_grad():
                team = self._policy(self._view(self.visible & self._same(1 + m), self.agent)).exp()
            cross_entropy = -(team * self._marginal_policy()).sum(dim=-1)
            self.descend("marginal", (cross_entropy * self.deciding).sum() / count)
            with torch.no_grad():
                log_marginal = self._marginal_policy()
            log_pi = self._policy(features)
            losses = (log_pi.exp() * (self.alpha_i * (log_pi - log_marginal) - utilities)).sum(dim=-1)
            self.descend("policy", (losses * self.deciding).sum() / count)

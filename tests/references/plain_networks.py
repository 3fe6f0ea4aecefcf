"""The networks of section 4 of the paper and of REFIL, one entity and one agent at a time, by their formulas.

Parameters come as a dict from name to tensor, as `named_parameters` gives it; `part` takes those of one module.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Parameters = dict[str, Tensor]


def part(parameters: Parameters, name: str) -> Parameters:
    """The parameters of the submodule `name`."""
    return {key[len(name) + 1 :]: value for key, value in parameters.items() if key.startswith(name + ".")}


def linear(parameters: Parameters, name: str, x: Tensor) -> Tensor:
    """W x + b."""
    out = parameters[f"{name}.weight"] @ x
    return out + parameters[f"{name}.bias"] if f"{name}.bias" in parameters else out


def relu(x: Tensor) -> Tensor:
    """max(x, 0)."""
    return torch.where(x > 0, x, torch.zeros_like(x))


def softmax(x: Tensor) -> Tensor:
    """Over a vector."""
    powers = torch.exp(x - x.max().detach())
    return powers / powers.sum()


def attend(p: Parameters, entities: Sequence[Tensor], agent: int, seen: Sequence[bool], heads: int) -> Tensor:
    """What `agent` gathers from the entities it has `seen`: [width], zeros if it has seen nothing."""
    width = len(p["query.weight"])
    size = width // heads
    others = [j for j in range(len(entities)) if seen[j]]
    if not others:
        return torch.zeros(width, dtype=p["query.weight"].dtype)
    query = p["query.weight"] @ relu(linear(p, "embed", entities[agent]))
    keys_and_values = [p["key_value.weight"] @ relu(linear(p, "embed", entities[j])) for j in others]
    gathered = []
    for h in range(heads):
        rows, value_rows = slice(h * size, (h + 1) * size), slice(width + h * size, width + (h + 1) * size)
        scores = [torch.dot(query[rows], key[rows]) / size**0.5 for key in keys_and_values]
        weights = softmax(torch.stack(scores))
        gathered.append(sum(w * value[value_rows] for w, value in zip(weights, keys_and_values, strict=True)))
    return torch.cat(gathered)


def gru_cell(p: Parameters, x: Tensor, h: Tensor) -> Tensor:
    """Reset, update and candidate gates as PyTorch documents them."""
    size = len(h)
    ours = p["weight_ih_l0"] @ x + p["bias_ih_l0"]
    theirs = p["weight_hh_l0"] @ h + p["bias_hh_l0"]
    reset = torch.sigmoid(ours[:size] + theirs[:size])
    update = torch.sigmoid(ours[size : 2 * size] + theirs[size : 2 * size])
    candidate = torch.tanh(ours[2 * size :] + reset * theirs[2 * size :])
    return (1 - update) * candidate + update * h


def recur(p: Parameters, rows: Sequence[Tensor], acts: Sequence[bool] | None = None) -> list[Tensor]:
    """Linear, ReLU and GRU over the steps of one agent, from a state of zeros.

    Where it does not act (by default it always does) there are zeros instead of its state, which waits.
    """
    states = []
    state = torch.zeros(len(p["linear.bias"]), dtype=p["linear.bias"].dtype)
    for t, row in enumerate(rows):
        if acts is None or acts[t]:
            state = gru_cell(part(p, "gru"), relu(linear(p, "linear", row)), state)
            states.append(state)
        else:
            states.append(torch.zeros_like(state))
    return states


def trunk(
    p: Parameters,
    entities: Sequence[Sequence[Tensor]],
    agent: int,
    seen: Sequence[Sequence[bool]],
    heads: int,
    acts: Sequence[bool] | None = None,
) -> list[Tensor]:
    """Features of one agent at every step of one episode."""
    rows = [attend(part(p, "attention"), entities[t], agent, seen[t], heads) for t in range(len(entities))]
    return recur(part(p, "recurrence"), rows, acts)


def action_scores(
    p: Parameters,
    state: Tensor,
    entities: Sequence[Tensor],
    seen: Sequence[bool],
    n_agents: int,
    targets: Sequence[str],
) -> Tensor:
    """Utilities or logits of one agent: one per fixed action, then one per entity of each group of targets.

    What speaks for an entity is added to the score of its kind of action where the agent sees the entity.
    """
    kinds = p["weight"] @ state + p["bias"]
    n_fixed = len(kinds) - len(targets)
    scores = [kinds[u] for u in range(n_fixed)]
    for g, group in enumerate(targets):
        for j in range(n_agents) if group == "agents" else range(n_agents, len(entities)):
            score = kinds[n_fixed + g]
            if seen[j] and f"targets.{g}.query.weight" in p:
                query = linear(p, f"targets.{g}.query", state)
                key = linear(p, f"targets.{g}.key", relu(linear(p, f"targets.{g}.embed", entities[j])))
                score = score + torch.dot(query, key) / len(state) ** 0.5
            scores.append(score)
    return torch.stack(scores)


def marginal_logits(
    p: Parameters,
    own: Sequence[Tensor],
    n_agents: int = 1,
    n_entities: int = 1,
    targets: Sequence[str] = (),
    acts: Sequence[bool] | None = None,
) -> list[Tensor]:
    """Logits of one agent at every step from its own entity: attention over one entity is its value."""
    rows = [linear(p, "value", relu(linear(p, "embed", entity))) for entity in own]
    states = recur(part(p, "recurrence"), rows, acts)
    nobody = [False] * n_entities
    return [
        action_scores(part(p, "logits"), state, own[:1] * n_entities, nobody, n_agents, targets) for state in states
    ]


def mix(
    p: Parameters,
    entities: Sequence[Tensor],
    utilities: Sequence[tuple[Sequence[Tensor], Sequence[Sequence[bool]]]],
    present: Sequence[Sequence[bool]],
    acting: Sequence[bool],
    heads: int,
    is_linear: bool,
    divide_by: int,
) -> Tensor:
    """Joint value of one step: sum_k elu?(sum_i q_i w_ik + b_k) f_k + v.

    Args:
        p: of the mixer.
        entities: of the step, each with its last action.
        utilities: pairs of the agents' utilities and the mask [A][E] under which their weights are made.
        present: [A][E], the full mask, for b, f and v.
        acting: agents that count.
        heads: of the hypernetworks.
        is_linear: no ELU.
        divide_by: what the sums of b, f and v over the agents are divided by.
    """

    def hypernetwork(name: str, agent: int, seen: Sequence[bool]) -> Tensor:
        q = part(p, name)
        return linear(q, "linear", attend(part(q, "attention"), entities, agent, seen, heads))

    def pooled(name: str) -> Tensor:
        rows = [hypernetwork(name, i, present[i]) for i in range(len(acting)) if any(present[i])]
        return torch.stack(rows).sum(dim=0) / divide_by

    hidden = pooled("bias")
    for values, mask in utilities:
        for i, value in enumerate(values):
            if acting[i]:
                hidden = hidden + value * softmax(hypernetwork("first", i, mask[i]))
    if not is_linear:
        hidden = torch.where(hidden > 0, hidden, torch.exp(hidden) - 1)
    return (hidden * softmax(pooled("final"))).sum() + pooled("value").sum()


def with_last_action(
    entities: Tensor, before: Sequence[int] | None, n_agents: int, n_actions: int, targets: Sequence[str] = ()
) -> list[Tensor]:
    """Entities of one step, each with what it did last (agents only), one-hot over the kinds of action."""
    sizes = [n_agents if group == "agents" else len(entities) - n_agents for group in targets]
    n_fixed = n_actions - sum(sizes)
    kinds = [*range(n_fixed), *(n_fixed + g for g, size in enumerate(sizes) for _ in range(size))]
    rows = []
    for j, entity in enumerate(entities):
        one_hot = torch.zeros(n_fixed + len(sizes), dtype=entities.dtype)
        if before is not None and j < n_agents:
            one_hot[kinds[before[j]]] = 1.0
        rows.append(torch.cat((entity, one_hot)))
    return rows

"""The networks of section 4 of the paper and of REFIL by their formulas, one entity and one agent at a time.

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


def layer_norm(parameters: Parameters, name: str, x: Tensor) -> Tensor:
    """(x - mean) / sqrt(variance + 1e-5) * gain + bias (Ba et al. 2016); x itself where there is no such layer."""
    if f"{name}.weight" not in parameters:
        return x
    away = x - x.sum() / len(x)
    normal = away / ((away * away).sum() / len(x) + 1e-5) ** 0.5
    return normal * parameters[f"{name}.weight"] + parameters[f"{name}.bias"]


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


def recur(
    p: Parameters, rows: Sequence[Tensor], acts: Sequence[bool] | None = None, state: Tensor | None = None
) -> tuple[list[Tensor | None], Tensor]:
    """Linear, ReLU and GRU over the steps of one agent, from `state` (None: zeros) on, and the state at the end.

    Where it does not act (by default it always does) there is none instead of its state, which waits.
    """
    states: list[Tensor | None] = []
    if state is None:
        state = torch.zeros(len(p["linear.bias"]), dtype=p["linear.bias"].dtype)
    for t, row in enumerate(rows):
        if acts is None or acts[t]:
            state = gru_cell(part(p, "gru"), relu(linear(p, "linear", row)), state)
            states.append(state)
        else:
            states.append(None)
    return states, state


def features_of(p: Parameters, states: Sequence[Tensor | None], like: Tensor) -> list[Tensor]:
    """Normalised states, if there is a layer for it; zeros where the agent did not act."""
    return [torch.zeros_like(like) if state is None else layer_norm(p, "state_norm", state) for state in states]


def trunk(
    p: Parameters,
    entities: Sequence[Sequence[Tensor]],
    agent: int,
    seen: Sequence[Sequence[bool]],
    heads: int,
    acts: Sequence[bool] | None = None,
    state: Tensor | None = None,
) -> tuple[list[Tensor], Tensor]:
    """Features of one agent at every step of one episode, and its recurrent state at the end."""
    rows = []
    for t, step in enumerate(entities):
        row = attend(part(p, "attention"), step, agent, seen[t], heads)
        if "own.weight" in p:
            row = row + linear(p, "own", step[agent])
        rows.append(layer_norm(p, "attention_norm", row))
    states, last = recur(part(p, "recurrence"), rows, acts, state)
    return features_of(p, states, last), last


def action_scores(
    p: Parameters,
    state: Tensor,
    entities: Sequence[Tensor],
    seen: Sequence[bool],
    n_agents: int,
    targets: Sequence[str],
    agent: int = 0,
) -> Tensor:
    """Utilities or logits of one agent: one per fixed action, then one per entity of each group of targets.

    What speaks for an entity is added to the score of its kind of action where the agent sees the entity: the dot
    product of a query and a key, and the score of the pair that `agent` and the entity are.
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
            if seen[j] and f"targets.{g}.pairs.own.weight" in p:
                score = score + pair_score(part(p, f"targets.{g}.pairs"), state, entities[agent], entities[j])
            scores.append(score)
    return torch.stack(scores)


def pair_score(p: Parameters, state: Tensor, own: Tensor, target: Tensor) -> Tensor:
    """<w(h_i), relu(E x_j + F x_i + b)> / sqrt(K)."""
    both = relu(linear(p, "target", target) + linear(p, "own", own))
    return torch.dot(linear(p, "weigh", state), both) / len(both) ** 0.5


def marginal_logits(
    p: Parameters,
    own: Sequence[Tensor],
    n_agents: int = 1,
    n_entities: int = 1,
    targets: Sequence[str] = (),
    acts: Sequence[bool] | None = None,
    state: Tensor | None = None,
) -> tuple[list[Tensor], Tensor]:
    """Logits of one agent at every step from its own entity: attention over one entity is its value. And its state."""
    rows = [layer_norm(p, "value_norm", linear(p, "value", relu(linear(p, "embed", entity)))) for entity in own]
    states, last = recur(part(p, "recurrence"), rows, acts, state)
    head, everyone, nobody = part(p, "logits"), own[:1] * n_entities, [False] * n_entities
    found = [action_scores(head, row, everyone, nobody, n_agents, targets) for row in features_of(p, states, last)]
    return found, last


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

"""Masked attention, forward and backward, with one parallel task per step.

Axes are those of `mipi_pl.models.attention` and `mipi_pl.models.packing`; W is the width. The numbers of querying
agents and visible entities vary per step. `agents` [Q] and `entities` [P] are their indices in the views.
`agent_starts` and `entity_starts` [L + 1] hold the first row of each step. They need not begin at 0, because a block of
steps is a slice of a batch.

Each head of a step takes a few products of small matrices, which stay in the L1 cache. Rows of scores are padded to
whole vectors. The backward pass recomputes the scores, which is cheaper than storing the weights of all views.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from mipi_pl.models.kernels.matrices import multiply, transpose
from mipi_pl.models.kernels.softmax import softmax, through_softmax
from mipi_pl.models.kernels.vector import entry, inline, padded_to_lanes


@inline
def _rows(starts: Any, step: Any) -> Any:
    """Return the first row of a step within the block, and the row after its last."""
    return starts[step] - starts[0], starts[step + 1] - starts[0]


@inline
def _shown(views: Any, agents: Any, entities: Any, padded: Any) -> Any:
    """Return [agents * V, padded]: 1 where an agent sees an entity under a view of `views` [V, A, E], else 0."""
    n_views = len(views)
    flags = np.zeros((len(agents) * n_views, padded), np.float32)
    for a in range(len(agents)):
        for v in range(n_views):
            for e in range(len(entities)):
                flags[a * n_views + v, e] = views[v, agents[a], entities[e]]
    return flags


@entry
def attend_forward(
    query: Any,
    key_value: Any,
    views: Any,
    agents: Any,
    entities: Any,
    agent_starts: Any,
    entity_starts: Any,
    mixed: Any,
    heads: int,
) -> None:
    """Average the values with the softmax of the scores, under each view.

    Args: query [Q, W]; key_value [P, 2 W]; views [L, V, A, E]; mixed [Q, V, W], written; heads, their number.
    """
    width, n_views = query.shape[1], views.shape[1]
    size = width // heads
    for step in prange(len(views)):
        (first, end), (begin, stop) = _rows(agent_starts, step), _rows(entity_starts, step)
        n_agents, n_entities, n_rows = end - first, stop - begin, (end - first) * n_views
        padded = padded_to_lanes(n_entities)
        keys, scores = np.zeros((size, padded), np.float32), np.empty((n_agents, padded), np.float32)
        shown = _shown(views[step], agents[first:end], entities[begin:stop], padded)
        weights = np.empty((n_rows, padded), np.float32)
        for at in range(0, width, size):
            q_at, key = first * width + at, begin * 2 * width + at
            transpose(keys, key_value, key, 2 * width, n_entities)
            multiply((scores, 0, padded), (query, q_at, width, 1), (keys, 0, padded), (n_agents, size, padded))
            for r in range(n_rows):
                softmax(weights, r, scores, r // n_views, shown)
            out, value = first * n_views * width + at, key + width
            multiply(
                (mixed, out, width),
                (weights, 0, padded, 1),
                (key_value, value, 2 * width),
                (n_rows, n_entities, size),
            )


@entry
def attend_backward(
    query: Any,
    key_value: Any,
    views: Any,
    agents: Any,
    entities: Any,
    agent_starts: Any,
    entity_starts: Any,
    gradient: Any,
    grad_query: Any,
    grad_key_value: Any,
    heads: int,
) -> None:
    """Compute the gradients of the inputs of `attend_forward` from the gradient of its output.

    Args: as in the forward kernel; gradient [Q, V, W] of `mixed`; grad_query [Q, W] and grad_key_value [P, 2 W],
        written.
    """
    width, n_views = query.shape[1], views.shape[1]
    size, line = width // heads, 2 * width
    for step in prange(len(views)):
        (first, end), (begin, stop) = _rows(agent_starts, step), _rows(entity_starts, step)
        n_agents, n_entities, n_rows = end - first, stop - begin, (end - first) * n_views
        padded = padded_to_lanes(n_entities)
        columns, scores = np.zeros((size, padded), np.float32), np.empty((n_agents, padded), np.float32)
        shown = _shown(views[step], agents[first:end], entities[begin:stop], padded)
        weights = np.empty((n_rows, padded), np.float32)
        grad_weights, grad_scores = np.empty_like(weights), np.empty_like(scores)
        for at in range(0, width, size):
            q_at, key = first * width + at, begin * line + at
            value, out = key + width, first * n_views * width + at
            transpose(columns, key_value, key, line, n_entities)
            multiply((scores, 0, padded), (query, q_at, width, 1), (columns, 0, padded), (n_agents, size, padded))
            transpose(columns, key_value, value, line, n_entities)
            multiply((grad_weights, 0, padded), (gradient, out, width, 1), (columns, 0, padded), (n_rows, size, padded))
            grad_scores[:] = 0.0
            for r in range(n_rows):
                softmax(weights, r, scores, r // n_views, shown)
                through_softmax(grad_scores, r // n_views, weights, r, grad_weights, r)
            multiply(
                (grad_query, q_at, width),
                (grad_scores, 0, padded, 1),
                (key_value, key, line),
                (n_agents, n_entities, size),
            )
            multiply(
                (grad_key_value, key, line),
                (grad_scores, 0, 1, padded),
                (query, q_at, width),
                (n_entities, n_agents, size),
            )
            multiply(
                (grad_key_value, value, line),
                (weights, 0, 1, padded),
                (gradient, out, width),
                (n_entities, n_rows, size),
            )


@entry
def gather_forward(
    query: Any,
    key: Any,
    views: Any,
    agents: Any,
    entities: Any,
    agent_starts: Any,
    entity_starts: Any,
    embedded: Any,
    gathered: Any,
    heads: int,
) -> None:
    """Sum the embeddings weighted by the attention of each head over all agents, under one view.

    Args: query [Q, W]; key and embedded [P, W]; views [L, 1, A, E]; gathered [L, H, W], written; heads, their
        number.
    """
    width = query.shape[1]
    size = width // heads
    for step in prange(len(views)):
        (first, end), (begin, stop) = _rows(agent_starts, step), _rows(entity_starts, step)
        n_agents, n_entities, padded = end - first, stop - begin, padded_to_lanes(stop - begin)
        keys, scores = np.zeros((size, padded), np.float32), np.empty((n_agents, padded), np.float32)
        shown = _shown(views[step], agents[first:end], entities[begin:stop], padded)
        weights, total = np.empty_like(scores), np.zeros((heads, padded), np.float32)
        q_at, rows = first * width, begin * width
        for head in range(heads):
            at = head * size
            transpose(keys, key, rows + at, width, n_entities)
            multiply((scores, 0, padded), (query, q_at + at, width, 1), (keys, 0, padded), (n_agents, size, padded))
            for a in range(n_agents):
                softmax(weights, a, scores, a, shown)
                total[head] += weights[a]
        out = step * heads * width
        multiply((gathered, out, width), (total, 0, padded, 1), (embedded, rows, width), (heads, n_entities, width))


@entry
def gather_backward(
    query: Any,
    key: Any,
    views: Any,
    agents: Any,
    entities: Any,
    agent_starts: Any,
    entity_starts: Any,
    embedded: Any,
    gradient: Any,
    grad_query: Any,
    grad_key: Any,
    grad_embedded: Any,
    heads: int,
) -> None:
    """Compute the gradients of the inputs of `gather_forward` from the gradient of its output.

    Args: as in the forward kernel; gradient [L, H, W] of `gathered`; grad_query [Q, W], grad_key and grad_embedded
        [P, W], written.
    """
    width = query.shape[1]
    size = width // heads
    for step in prange(len(views)):
        (first, end), (begin, stop) = _rows(agent_starts, step), _rows(entity_starts, step)
        n_agents, n_entities, padded = end - first, stop - begin, padded_to_lanes(stop - begin)
        keys, scores = np.zeros((size, padded), np.float32), np.empty((n_agents, padded), np.float32)
        columns, grad_weights = np.zeros((width, padded), np.float32), np.empty((heads, padded), np.float32)
        shown = _shown(views[step], agents[first:end], entities[begin:stop], padded)
        weights, grad_scores, total = np.empty_like(scores), np.empty_like(scores), np.zeros_like(grad_weights)
        q_at, rows, out = first * width, begin * width, step * heads * width
        transpose(columns, embedded, rows, width, n_entities)
        multiply((grad_weights, 0, padded), (gradient, out, width, 1), (columns, 0, padded), (heads, width, padded))
        for head in range(heads):
            at = head * size
            transpose(keys, key, rows + at, width, n_entities)
            multiply((scores, 0, padded), (query, q_at + at, width, 1), (keys, 0, padded), (n_agents, size, padded))
            grad_scores[:] = 0.0
            for a in range(n_agents):
                softmax(weights, a, scores, a, shown)
                total[head] += weights[a]
                through_softmax(grad_scores, a, weights, a, grad_weights, head)
            q, k = q_at + at, rows + at
            multiply((grad_query, q, width), (grad_scores, 0, padded, 1), (key, k, width), (n_agents, n_entities, size))
            multiply((grad_key, k, width), (grad_scores, 0, 1, padded), (query, q, width), (n_entities, n_agents, size))
        multiply(
            (grad_embedded, rows, width), (total, 0, 1, padded), (gradient, out, width), (n_entities, heads, width)
        )

"""Masked attention, forward and backward: one task per step. Letters as in `models.attention` and `models.packing`.

Each step has agents that are asked and entities that they see, as many as it happens to have: `agents` [Q] and
`entities` [P] are their numbers in the views, and `agent_starts` and `entity_starts` [L + 1] say where a step begins
among them; the first of these may be any number, as a block of steps is cut out of a batch.

Each head of a step is a handful of products of small matrices that stay in the first cache. Rows of scores are padded
to whole vectors. Scores are made again in the backward pass: that is cheaper than to keep the weights of all views.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import prange

from mipi_pl.utils.compiled import source_hash
from models.kernels.matrices import multiply, transpose
from models.kernels.softmax import softmax, through_softmax
from models.kernels.vector import entry, inline, padded_to_lanes


@inline
def _rows(starts: Any, step: Any) -> Any:
    """First row of a step in the block, and the one after its last."""
    return starts[step] - starts[0], starts[step + 1] - starts[0]


@inline
def _shown(views: Any, agents: Any, entities: Any, padded: Any) -> Any:
    """1 where an agent sees an entity under a view of views [V, A, E], else 0: [agents * V, padded]."""
    n_views = len(views)
    flags = np.zeros((len(agents) * n_views, padded), np.float32)
    for a in range(len(agents)):
        for v in range(n_views):
            for e in range(len(entities)):
                flags[a * n_views + v, e] = views[v, agents[a], entities[e]]
    return flags


def _make_attend_forward(source: int) -> Callable[..., int]:
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
    ) -> int:
        """Values mixed by the softmax of the scores under each view.

        Args: query [Q, W]; key_value [P, 2 W]; views [L, V, A, E]; mixed [Q, V, W], written; heads.
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
                mine, key = first * width + at, begin * 2 * width + at
                transpose(keys, key_value, key, 2 * width, n_entities)
                multiply((scores, 0, padded), (query, mine, width, 1), (keys, 0, padded), (n_agents, size, padded))
                for r in range(n_rows):
                    softmax(weights, r, scores, r // n_views, shown)
                out, value = first * n_views * width + at, key + width
                multiply(
                    (mixed, out, width),
                    (weights, 0, padded, 1),
                    (key_value, value, 2 * width),
                    (n_rows, n_entities, size),
                )
        return source

    return attend_forward


def _make_attend_backward(source: int) -> Callable[..., int]:
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
        of_query: Any,
        of_key_value: Any,
        heads: int,
    ) -> int:
        """From the gradient of what `attend_forward` wrote to those of what it read.

        Args: as in the forward kernel; gradient [Q, V, W]; of_query and of_key_value, like what they are of, are
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
            given, back = np.empty_like(weights), np.empty_like(scores)
            for at in range(0, width, size):
                mine, key = first * width + at, begin * line + at
                value, out = key + width, first * n_views * width + at
                transpose(columns, key_value, key, line, n_entities)
                multiply((scores, 0, padded), (query, mine, width, 1), (columns, 0, padded), (n_agents, size, padded))
                transpose(columns, key_value, value, line, n_entities)
                multiply((given, 0, padded), (gradient, out, width, 1), (columns, 0, padded), (n_rows, size, padded))
                back[:] = 0.0
                for r in range(n_rows):
                    softmax(weights, r, scores, r // n_views, shown)
                    through_softmax(back, r // n_views, weights, r, given, r)
                multiply(
                    (of_query, mine, width), (back, 0, padded, 1), (key_value, key, line), (n_agents, n_entities, size)
                )
                multiply(
                    (of_key_value, key, line), (back, 0, 1, padded), (query, mine, width), (n_entities, n_agents, size)
                )
                multiply(
                    (of_key_value, value, line),
                    (weights, 0, 1, padded),
                    (gradient, out, width),
                    (n_entities, n_rows, size),
                )
        return source

    return attend_backward


def _make_gather_forward(source: int) -> Callable[..., int]:
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
    ) -> int:
        """What all agents together attend to under one view.

        Args: query [Q, W]; key and embedded [P, W]; views [L, 1, A, E]; gathered [L, H, W], written; heads.

        Written are the embeddings weighted by the attention of each head, summed over the agents.
        """
        width = query.shape[1]
        size = width // heads
        for step in prange(len(views)):
            (first, end), (begin, stop) = _rows(agent_starts, step), _rows(entity_starts, step)
            n_agents, n_entities, padded = end - first, stop - begin, padded_to_lanes(stop - begin)
            keys, scores = np.zeros((size, padded), np.float32), np.empty((n_agents, padded), np.float32)
            shown = _shown(views[step], agents[first:end], entities[begin:stop], padded)
            weights, total = np.empty_like(scores), np.zeros((heads, padded), np.float32)
            mine, rows = first * width, begin * width
            for head in range(heads):
                at = head * size
                transpose(keys, key, rows + at, width, n_entities)
                multiply((scores, 0, padded), (query, mine + at, width, 1), (keys, 0, padded), (n_agents, size, padded))
                for a in range(n_agents):
                    softmax(weights, a, scores, a, shown)
                    total[head] += weights[a]
            out = step * heads * width
            multiply((gathered, out, width), (total, 0, padded, 1), (embedded, rows, width), (heads, n_entities, width))
        return source

    return gather_forward


def _make_gather_backward(source: int) -> Callable[..., int]:
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
        of_query: Any,
        of_key: Any,
        of_embedded: Any,
        heads: int,
    ) -> int:
        """From the gradient of what `gather_forward` wrote to those of what it read.

        Args: as in the forward kernel; gradient [L, H, W]; the last three arrays, like what they are of, are written.
        """
        width = query.shape[1]
        size = width // heads
        for step in prange(len(views)):
            (first, end), (begin, stop) = _rows(agent_starts, step), _rows(entity_starts, step)
            n_agents, n_entities, padded = end - first, stop - begin, padded_to_lanes(stop - begin)
            keys, scores = np.zeros((size, padded), np.float32), np.empty((n_agents, padded), np.float32)
            columns, given = np.zeros((width, padded), np.float32), np.empty((heads, padded), np.float32)
            shown = _shown(views[step], agents[first:end], entities[begin:stop], padded)
            weights, back, total = np.empty_like(scores), np.empty_like(scores), np.zeros_like(given)
            mine, rows, out = first * width, begin * width, step * heads * width
            transpose(columns, embedded, rows, width, n_entities)
            multiply((given, 0, padded), (gradient, out, width, 1), (columns, 0, padded), (heads, width, padded))
            for head in range(heads):
                at = head * size
                transpose(keys, key, rows + at, width, n_entities)
                multiply((scores, 0, padded), (query, mine + at, width, 1), (keys, 0, padded), (n_agents, size, padded))
                back[:] = 0.0
                for a in range(n_agents):
                    softmax(weights, a, scores, a, shown)
                    total[head] += weights[a]
                    through_softmax(back, a, weights, a, given, head)
                q, k = mine + at, rows + at
                multiply((of_query, q, width), (back, 0, padded, 1), (key, k, width), (n_agents, n_entities, size))
                multiply((of_key, k, width), (back, 0, 1, padded), (query, q, width), (n_entities, n_agents, size))
            multiply(
                (of_embedded, rows, width), (total, 0, 1, padded), (gradient, out, width), (n_entities, heads, width)
            )
        return source

    return gather_backward


attend_forward = _make_attend_forward(source_hash(__package__))
attend_backward = _make_attend_backward(source_hash(__package__))
gather_forward = _make_gather_forward(source_hash(__package__))
gather_backward = _make_gather_backward(source_hash(__package__))

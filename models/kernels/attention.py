"""Masked attention, forward and backward: one task per step. Letters as in `models.attention`.

Each head of a step is a handful of products of small matrices that stay in the first cache. Rows of scores are padded
to whole vectors. Scores are made again in the backward pass: that is cheaper than to keep the weights of all views.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import prange

from mipi_pl.compiled import source_hash
from models.kernels.matrices import multiply, transpose
from models.kernels.softmax import softmax, through_softmax
from models.kernels.vector import entry, inline, padded_to_lanes


@inline
def _shown(views: Any, padded: Any) -> Any:
    """1 where a row of views [R, E] shows an entity, else 0: [R, padded]."""
    flags = np.zeros((len(views), padded), np.float32)
    for r in range(len(views)):
        for e in range(views.shape[1]):
            flags[r, e] = views[r, e]
    return flags


def _make_attend_forward(source: int) -> Callable[..., int]:
    @entry
    def attend_forward(query: Any, key_value: Any, views: Any, mixed: Any, heads: int) -> int:
        """Values mixed by the softmax of the scores under each view.

        Args: query [L, A, W]; key_value [L, E, 2 W]; views [L, V * A, E]; mixed [L, V * A, W], written; heads.
        """
        _, n_agents, width = query.shape
        size = width // heads
        n_rows, n_entities = views.shape[1:]
        padded = padded_to_lanes(n_entities)
        for step in prange(len(query)):
            keys, scores = np.zeros((size, padded), np.float32), np.empty((n_agents, padded), np.float32)
            shown, weights = _shown(views[step], padded), np.empty((n_rows, padded), np.float32)
            for at in range(0, width, size):
                mine, key = step * n_agents * width + at, step * n_entities * 2 * width + at
                transpose(keys, key_value, key, 2 * width, n_entities)
                multiply((scores, 0, padded), (query, mine, width, 1), (keys, 0, padded), (n_agents, size, padded))
                for r in range(n_rows):
                    softmax(weights, r, scores, r % n_agents, shown)
                out, value = step * n_rows * width + at, key + width
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
        query: Any, key_value: Any, views: Any, gradient: Any, of_query: Any, of_key_value: Any, heads: int
    ) -> int:
        """From the gradient of what `attend_forward` wrote to those of what it read.

        Args: as in the forward kernel; gradient [L, V * A, W]; of_query and of_key_value, like what they are of, are
            written.
        """
        _, n_agents, width = query.shape
        size = width // heads
        n_rows, n_entities = views.shape[1:]
        padded, line = padded_to_lanes(n_entities), 2 * width
        for step in prange(len(query)):
            columns, scores = np.zeros((size, padded), np.float32), np.empty((n_agents, padded), np.float32)
            shown, weights = _shown(views[step], padded), np.empty((n_rows, padded), np.float32)
            given, back = np.empty_like(weights), np.empty_like(scores)
            for at in range(0, width, size):
                mine, key = step * n_agents * width + at, step * n_entities * line + at
                value, out = key + width, step * n_rows * width + at
                transpose(columns, key_value, key, line, n_entities)
                multiply((scores, 0, padded), (query, mine, width, 1), (columns, 0, padded), (n_agents, size, padded))
                transpose(columns, key_value, value, line, n_entities)
                multiply((given, 0, padded), (gradient, out, width, 1), (columns, 0, padded), (n_rows, size, padded))
                back[:] = 0.0
                for r in range(n_rows):
                    softmax(weights, r, scores, r % n_agents, shown)
                    through_softmax(back, r % n_agents, weights, r, given, r)
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
    def gather_forward(query: Any, key: Any, view: Any, embedded: Any, gathered: Any, heads: int) -> int:
        """What all agents together attend to under one view.

        Args: query [L, A, W]; key and embedded [L, E, W]; view [L, A, E]; gathered [L, H, W], written; heads.

        Written are the embeddings weighted by the attention of each head, summed over the agents.
        """
        n_agents, n_entities = view.shape[1:]
        width, padded = query.shape[2], padded_to_lanes(n_entities)
        size = width // heads
        for step in prange(len(query)):
            keys, scores = np.zeros((size, padded), np.float32), np.empty((n_agents, padded), np.float32)
            shown, weights = _shown(view[step], padded), np.empty_like(scores)
            total = np.zeros((heads, padded), np.float32)
            mine, rows = step * n_agents * width, step * n_entities * width
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
        view: Any,
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
        n_agents, n_entities = view.shape[1:]
        width, padded = query.shape[2], padded_to_lanes(n_entities)
        size = width // heads
        for step in prange(len(query)):
            keys, scores = np.zeros((size, padded), np.float32), np.empty((n_agents, padded), np.float32)
            columns, given = np.zeros((width, padded), np.float32), np.empty((heads, padded), np.float32)
            shown, weights, back = _shown(view[step], padded), np.empty_like(scores), np.empty_like(scores)
            total = np.zeros_like(given)
            mine, rows, out = step * n_agents * width, step * n_entities * width, step * heads * width
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

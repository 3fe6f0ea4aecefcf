"""Masked attention, forward and backward: one task per step. Letters as in `models.attention`.

Scores are made again in the backward pass: that is cheaper than to keep the weights of all views.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import prange

from mipi_pl.compiled import source_hash
from models.kernels.vector import ONE, TINY, add_scaled, dot, entry, exp, row_loop


@row_loop
def _softmax(scores: Any, view: Any, weights: Any) -> None:
    """The softmax over what the view shows; zeros where it shows nothing."""
    largest = -np.float32(np.inf)
    for e in range(len(scores)):
        seen = scores[e] if view[e] else largest
        largest = seen if seen > largest else largest
    total = TINY
    for e in range(len(scores)):
        weights[e] = exp(scores[e] - largest) if view[e] else np.float32(0.0)
        total += weights[e]
    share = ONE / total
    for e in range(len(scores)):
        weights[e] *= share


@row_loop
def _through_softmax(weights: Any, gradient: Any, scores: Any) -> None:
    """Add to scores[e] the gradient that weights[e] got."""
    mean = np.float32(0.0)
    for e in range(len(weights)):
        mean += weights[e] * gradient[e]
    for e in range(len(weights)):
        scores[e] += weights[e] * (gradient[e] - mean)


@cache
def attend_forward(size: int) -> Callable[..., int]:
    """Values mixed by the softmax of the scores under each view, for heads of `size` columns."""
    source = source_hash(__package__)

    @entry
    def kernel(query: Any, key_value: Any, views: Any, mixed: Any) -> int:
        """Args: query [L, A, W]; key_value [L, E, 2 W]; views [L, V, A, E]; mixed [L, V, A, W], written."""
        _, n_agents, width = query.shape
        n_views, n_entities = views.shape[1], views.shape[3]
        for step in prange(len(query)):
            scores, weights = np.empty(n_entities, np.float32), np.empty(n_entities, np.float32)
            mixed[step] = 0.0
            for a in range(n_agents):
                for at in range(0, width, size):
                    mine, others = (step * n_agents + a) * width + at, step * n_entities * 2 * width + at
                    for e in range(n_entities):
                        scores[e] = dot(query, mine, key_value, others + e * 2 * width, size)
                    for v in range(n_views):
                        _softmax(scores, views[step, v, a], weights)
                        out = ((step * n_views + v) * n_agents + a) * width + at
                        for e in range(n_entities):
                            add_scaled(mixed, out, weights[e], key_value, others + (e * 2 + 1) * width, size)
        return source

    return kernel


@cache
def attend_backward(size: int) -> Callable[..., int]:
    """From the gradient of what `attend_forward` wrote to those of what it read."""
    source = source_hash(__package__)

    @entry
    def kernel(query: Any, key_value: Any, views: Any, gradient: Any, of_query: Any, of_key_value: Any) -> int:
        """Args: as in the forward kernel; gradient [L, V, A, W]; the last two, like what they are of, are written."""
        _, n_agents, width = query.shape
        n_views, n_entities = views.shape[1], views.shape[3]
        for step in prange(len(query)):
            scores, weights = np.empty(n_entities, np.float32), np.empty(n_entities, np.float32)
            of_weights, of_scores = np.empty_like(weights), np.empty_like(weights)
            of_query[step] = 0.0
            of_key_value[step] = 0.0
            for a in range(n_agents):
                for at in range(0, width, size):
                    mine, others = (step * n_agents + a) * width + at, step * n_entities * 2 * width + at
                    for e in range(n_entities):
                        scores[e] = dot(query, mine, key_value, others + e * 2 * width, size)
                    of_scores[:] = 0.0
                    for v in range(n_views):
                        _softmax(scores, views[step, v, a], weights)
                        out = ((step * n_views + v) * n_agents + a) * width + at
                        for e in range(n_entities):
                            value = others + (e * 2 + 1) * width
                            of_weights[e] = dot(gradient, out, key_value, value, size)
                            add_scaled(of_key_value, value, weights[e], gradient, out, size)
                        _through_softmax(weights, of_weights, of_scores)
                    for e in range(n_entities):
                        key = others + e * 2 * width
                        add_scaled(of_query, mine, of_scores[e], key_value, key, size)
                        add_scaled(of_key_value, key, of_scores[e], query, mine, size)
        return source

    return kernel


@cache
def gather_forward(size: int, width: int) -> Callable[..., int]:
    """What all agents together attend to under one view, for heads of `size` columns and embeddings of `width`."""
    source = source_hash(__package__)

    @entry
    def kernel(query: Any, key: Any, view: Any, embedded: Any, gathered: Any) -> int:
        """Args: query [L, A, W]; key and embedded [L, E, W]; view [L, A, E]; gathered [L, H, W], written.

        Written are the embeddings weighted by the attention of each head, summed over the agents.
        """
        n_agents, n_entities = view.shape[1:]
        for step in prange(len(query)):
            scores, weights = np.empty(n_entities, np.float32), np.empty(n_entities, np.float32)
            total = np.empty_like(weights)
            gathered[step] = 0.0
            for at in range(0, width, size):
                total[:] = 0.0
                for a in range(n_agents):
                    mine, others = (step * n_agents + a) * width + at, step * n_entities * width + at
                    for e in range(n_entities):
                        scores[e] = dot(query, mine, key, others + e * width, size)
                    _softmax(scores, view[step, a], weights)
                    total += weights
                for e in range(n_entities):
                    out, row = (step * (width // size) + at // size) * width, (step * n_entities + e) * width
                    add_scaled(gathered, out, total[e], embedded, row, width)
        return source

    return kernel


@cache
def gather_backward(size: int, width: int) -> Callable[..., int]:
    """From the gradient of what `gather_forward` wrote to those of what it read."""
    source = source_hash(__package__)

    @entry
    def kernel(
        query: Any, key: Any, view: Any, embedded: Any, gradient: Any, of_query: Any, of_key: Any, of_embedded: Any
    ) -> int:
        """Args: as in the forward kernel; gradient [L, H, W]; the last three, like what they are of, are written."""
        n_agents, n_entities = view.shape[1:]
        for step in prange(len(query)):
            scores, weights = np.empty(n_entities, np.float32), np.empty(n_entities, np.float32)
            total, of_weights, of_scores = np.empty_like(weights), np.empty_like(weights), np.empty_like(weights)
            of_query[step] = 0.0
            of_key[step] = 0.0
            of_embedded[step] = 0.0
            for at in range(0, width, size):
                out = (step * (width // size) + at // size) * width
                for e in range(n_entities):
                    of_weights[e] = dot(gradient, out, embedded, (step * n_entities + e) * width, width)
                total[:] = 0.0
                for a in range(n_agents):
                    mine, others = (step * n_agents + a) * width + at, step * n_entities * width + at
                    for e in range(n_entities):
                        scores[e] = dot(query, mine, key, others + e * width, size)
                    _softmax(scores, view[step, a], weights)
                    total += weights
                    of_scores[:] = 0.0
                    _through_softmax(weights, of_weights, of_scores)
                    for e in range(n_entities):
                        add_scaled(of_query, mine, of_scores[e], key, others + e * width, size)
                        add_scaled(of_key, others + e * width, of_scores[e], query, mine, size)
                for e in range(n_entities):
                    add_scaled(of_embedded, (step * n_entities + e) * width, total[e], gradient, out, width)
        return source

    return kernel

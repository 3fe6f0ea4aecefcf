"""Scores of the pairs of agent and target that a view shows, forward and backward, with one parallel task per step.

K is the number of units and T that of targets; the other axes are those of `models.attention`. For each agent, the
kernels compute the units only for the targets that at least one view shows. They never store an array of size
A * T * K, and the backward pass recomputes the units.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import prange

from mipi_pl.utils.compiled import source_hash
from models.kernels.matrices import multiply, transpose
from models.kernels.vector import ZERO, entry, inline, padded_to_lanes, row_loop


@inline
def _seen_by(agent: Any, views: Any, first: Any, seen: Any) -> Any:
    """Write the indices of the targets that any view of `views` [V, A, E] shows to an agent; return their number."""
    count = 0
    for target in range(len(seen)):
        for v in range(len(views)):
            if views[v, agent, first + target]:
                seen[count] = target
                count += 1
                break
    return count


@row_loop
def _pair(pair: Any, own: Any, target: Any) -> None:
    """Compute the units relu(own + target) of one agent and one target; NaN stays NaN."""
    for k in range(len(pair)):
        total = own[k] + target[k]
        pair[k] = ZERO if total < ZERO else total


@row_loop
def _pair_backward(pair: Any, grad_pairs: Any, grad_own: Any, grad_target: Any) -> None:
    """Add the gradient of one pair's units to the gradients of its agent and its target."""
    for k in range(len(pair)):
        passed = grad_pairs[k] if pair[k] > ZERO else ZERO
        grad_own[k] += passed
        grad_target[k] += passed


def _make_forward(source: int) -> Callable[..., int]:
    @entry
    def forward(weights: Any, own: Any, target: Any, views: Any, first: int, scores: Any) -> int:
        """Compute <weights, relu(own + target)> where a view shows the target, else 0.

        Args:
            weights: [L, V, A, K].
            own: [L, A, K].
            target: [L, T, K].
            views: [L, V, A, E].
            first: entity slot of the first target.
            scores: [L, V, A, T], written.
        """
        n_views, n_agents, units = weights.shape[1:]
        n_targets = target.shape[1]
        widest = padded_to_lanes(n_targets)
        for step in prange(len(views)):
            seen, pairs = np.empty(n_targets, np.int64), np.empty((n_targets, units), np.float32)
            columns, dots = np.empty((units, widest), np.float32), np.empty((n_views, widest), np.float32)
            scores[step] = ZERO
            for a in range(n_agents):
                count = _seen_by(a, views[step], first, seen)
                if count:
                    for c in range(count):
                        _pair(pairs[c], own[step, a], target[step, seen[c]])
                    transpose(columns, pairs, 0, units, count)
                    at, line = (step * n_views * n_agents + a) * units, n_agents * units
                    sizes = (n_views, units, padded_to_lanes(count))
                    multiply((dots, 0, widest), (weights, at, line, 1), (columns, 0, widest), sizes)
                    for v in range(n_views):
                        for c in range(count):
                            if views[step, v, a, first + seen[c]]:
                                scores[step, v, a, seen[c]] = dots[v, c]
        return source

    return forward


def _make_backward(source: int) -> Callable[..., int]:
    @entry
    def backward(
        weights: Any,
        own: Any,
        target: Any,
        views: Any,
        first: int,
        gradient: Any,
        grad_weights: Any,
        grad_own: Any,
        grad_target: Any,
    ) -> int:
        """Compute the gradients of the inputs of `forward` from the gradient of its output.

        Args: as in the forward kernel; gradient [L, V, A, T] of `scores`; grad_weights [L, V, A, K], grad_own [L, A, K]
            and grad_target [L, T, K], written.
        """
        n_views, n_agents, units = weights.shape[1:]
        n_targets = target.shape[1]
        for step in prange(len(views)):
            seen, pairs = np.empty(n_targets, np.int64), np.empty((n_targets, units), np.float32)
            grad_scores, grad_pairs = np.empty((n_views, n_targets), np.float32), np.empty_like(pairs)
            grad_own[step], grad_target[step] = ZERO, ZERO
            for a in range(n_agents):
                count = _seen_by(a, views[step], first, seen)
                for c in range(count):
                    _pair(pairs[c], own[step, a], target[step, seen[c]])
                    for v in range(n_views):
                        shown = views[step, v, a, first + seen[c]]
                        grad_scores[v, c] = gradient[step, v, a, seen[c]] if shown else ZERO
                at, line = (step * n_views * n_agents + a) * units, n_agents * units
                multiply(
                    (grad_weights, at, line), (grad_scores, 0, n_targets, 1), (pairs, 0, units), (n_views, count, units)
                )
                multiply(
                    (grad_pairs, 0, units), (grad_scores, 0, 1, n_targets), (weights, at, line), (count, n_views, units)
                )
                for c in range(count):
                    _pair_backward(pairs[c], grad_pairs[c], grad_own[step, a], grad_target[step, seen[c]])
        return source

    return backward


forward = _make_forward(source_hash(__package__))
backward = _make_backward(source_hash(__package__))

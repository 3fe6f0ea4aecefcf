"""Picture of `mipi theory`: convergence of evaluation, policy iteration and Blahut-Arimoto."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mipi_pl.evaluation.style import PALETTE
from mipi_pl.storage.files import replacing
from mipi_pl.theory.blahut_arimoto import alternate, solve
from mipi_pl.theory.findings import Instance, draw
from mipi_pl.theory.mmdp import Array, Indices
from mipi_pl.theory.policy_iteration import backup, divergences, evaluate, iterate, joint_policy
from mipi_pl.theory.statements_alternation import bound, random_problem

_LINES = 5
_FLOOR = 1e-14


def draw_convergence(path: Path, seed: int) -> None:
    """Draw three panels with `_LINES` random instances each and the theoretical bounds dashed, and save them as a PNG.

    Args:
        path: path of the PNG.
        seed: seed of the first instance; the others use the following seeds.
    """
    figure = Figure(figsize=(15, 4.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = (figure.add_subplot(1, 3, place + 1) for place in range(3))
    for line in range(_LINES):
        instance, colour = draw(seed + line, additive=True), PALETTE[line]
        _draw_evaluation(left, instance, colour)
        _draw_iteration(middle, instance, colour, label=line == 0)
        _draw_alternation(right, *random_problem(seed + line), colour)
    _draw_alternation(right, *tied_problem(), "black")
    _finish(left, "Lemma 1: evaluation", "applications of (5)", "distance to the exact joint value")
    _finish(middle, "Theorem 1: policy iteration", "iterations", "distance to the best joint value")
    _finish(right, "Theorem 2: Blahut-Arimoto (black: a tie)", "alternations M", "objective below its optimum")
    middle.legend(frameon=False, fontsize=9)
    right.set_xscale("log")
    with replacing(path) as unfinished:
        figure.savefig(unfinished, format=path.suffix.removeprefix("."))


def tied_problem() -> tuple[Array, Array, float, Array]:
    """Return a problem with slower than geometric convergence.

    In its two teams the gain of the second action is exactly offset by the cost of its information.

    Returns:
        Utilities [2, 2], probabilities of the teams [2], temperature, and the policy [2, 2] to start from.
    """
    alpha = 0.5
    utilities = np.array([[0.0, alpha * np.log(1.5)], [0.0, alpha * np.log(0.5)]])
    return utilities, np.array([0.5, 0.5]), alpha, np.full((2, 2), 0.5)


def _draw_evaluation(axes: Axes, i: Instance, colour: str) -> None:
    joint, cost = joint_policy(i.mmdp, i.start), i.alpha * divergences(i.start, i.marginals).sum(axis=0)
    exact, q = evaluate(i.mmdp, joint, cost)[0], np.zeros_like(i.mmdp.reward)
    gaps = []
    for _ in range(150):
        gaps.append(np.abs(q - exact).max())
        q = backup(i.mmdp, q, joint, cost)
    _draw(axes, np.arange(150), np.array(gaps), gaps[0] * i.mmdp.gamma ** np.arange(150), colour)


def _draw_iteration(axes: Axes, i: Instance, colour: str, label: bool) -> None:
    divided = iterate(i.mmdp, i.start, i.weights, i.marginals, i.alpha)
    printed = iterate(i.mmdp, i.start, i.weights, i.marginals, i.alpha, divided=False, steps=20)
    best, shown = divided.values[-1], np.arange(12)
    gaps, printed_gaps = (_gaps(iteration.values, best, len(shown)) for iteration in (divided, printed))
    _draw(axes, shown, gaps, gaps[0] * i.mmdp.gamma**shown, colour)
    axes.plot(shown, printed_gaps, color=colour, linewidth=1.0, linestyle=":")
    if label:
        for style, text in (("-", "temperature alpha/w"), (":", "temperature alpha, as printed"), ("--", "bound")):
            axes.plot([], [], color="#555555", linestyle=style, label=text)


def _gaps(values: list[Array], best: Array, count: int) -> Array:
    """Return the distances of the first `count` iterates to the best; the last iterate is repeated if needed."""
    return np.array([np.abs(values[min(k, len(values) - 1)] - best).max() for k in range(count)])


def _draw_alternation(
    axes: Axes, utilities: Array, shares: Array, alpha: float, start: Array, colour: str, steps: int = 1000
) -> None:
    _, marginal, best = solve(utilities, shares, alpha, precision=1e-9)
    result = alternate(utilities, shares, start, alpha, steps)
    m = np.arange(1, steps + 1)
    _draw(axes, m, best - np.array(result.objectives[1:]), bound(marginal, result.marginals[0], alpha) / m, colour)


def _draw(axes: Axes, x: Indices, gaps: Array, limit: Array, colour: str) -> None:
    axes.plot(x, np.where(gaps > _FLOOR, gaps, np.nan), color=colour, linewidth=1.8)
    axes.plot(x, np.where(limit > _FLOOR, limit, np.nan), color=colour, linewidth=0.8, linestyle="--")


def _finish(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_yscale("log")
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)

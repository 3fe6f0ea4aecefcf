"""A picture of one episode: who walked where, what was taken, what the invader did, what it paid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Rectangle
from tensordict import TensorDictBase

from mipi_pl import spec as keys
from mipi_pl.envs.resource.env import ResourceCollection
from mipi_pl.envs.resource.rules_state import NOTHING
from mipi_pl.envs.resource.scenario import Scenario

# Okabe and Ito's palette, which the colour-blind can tell apart: lines for agents, fills for types of resources.
_AGENTS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#000000", "#7F7F7F", "#8C5109")
_TYPES = ("#9ECAE1", "#FDD0A2", "#C7E9C0", "#DADAEB", "#D9D9D9")
_INVADER = "#D55E00"


@dataclass(frozen=True)
class Track:
    """One episode of n agents and R resources, from its first observation to its last.

    Attributes:
        scenario: whose sizes are drawn.
        agents: float64 [T+1, n, 2], places.
        carries: int64 [T+1, n], types of what they carry, -1 for nothing.
        resources: float64 [T+1, R, 2], places.
        invader: float64 [T+1, 2], places; NaN while it is away.
        rewards: float64 [T].
    """

    scenario: Scenario
    agents: np.ndarray
    carries: np.ndarray
    resources: np.ndarray
    invader: np.ndarray
    rewards: np.ndarray


@torch.no_grad()
def follow(
    env: ResourceCollection,
    policy: Callable[[TensorDictBase], TensorDictBase],
    index: int = 0,
    steps: int | None = None,
) -> Track:
    """Reset the environment, play an episode, and keep what happens in one of its rows.

    Args:
        env: B environments.
        policy: what acts in all of them.
        index: the row that is kept.
        steps: T; None plays to the end.

    Raises:
        ValueError: if there is no such row, or `steps` is not positive.
    """
    if not 0 <= index < env.num_envs or (steps is not None and steps < 1):
        raise ValueError(f"expected an index below {env.num_envs} and at least one step, got {index} and {steps}")
    td, rewards = env.reset(), []
    seen = [_places(env, index)]
    for _ in range(min(steps or env.entity_spec.max_steps, env.entity_spec.max_steps)):
        td = env.step(policy(td))["next"]
        rewards.append(float(td[keys.REWARD][index]))
        seen.append(_places(env, index))
    agents, carries, resources, invader = (np.stack(part) for part in zip(*seen, strict=True))
    return Track(env.scenario, agents, carries, resources, invader, np.array(rewards))


def _places(env: ResourceCollection, b: int) -> tuple[np.ndarray, ...]:
    state, episode = env.state, env.state.episodes[b]
    team, resources = state.agents[b, : episode.team], state.resources[b]
    away = episode.away > 0
    invader = np.array([np.nan, np.nan] if away else [episode.invader_x, episode.invader_y])
    return (
        np.stack([team["x"], team["y"]], -1),
        team["carries"].copy(),
        np.stack([resources["x"], resources["y"]], -1),
        invader,
    )


def draw(track: Track, title: str = "") -> Figure:
    """The square seen from above, north up, beside the return as it grows.

    Agents' ways are lines from a dot, thick where something is carried; triangles mark what was collected, squares what
    was delivered. Resources are discs in the colour of their type, faint where they appeared later. The invader's ways
    are dashed; a cross marks where it was caught or arrived.
    """
    figure = Figure(figsize=(10.5, 5.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    square, growth = figure.subplots(1, 2, width_ratios=(1.25, 1))
    _draw_ground(square, track)
    _draw_ways(square, track)
    _draw_invader(square, track)
    growth.plot(np.concatenate([[0.0], np.cumsum(track.rewards)]), color="black")
    growth.set_xlabel("step")
    growth.set_ylabel("return so far")
    growth.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    return figure


def _draw_ground(axes: Axes, track: Track) -> None:
    s = track.scenario
    rim = max(1.0, s.invader_rim) + 0.03
    axes.add_patch(Rectangle((-rim, -rim), 2 * rim, 2 * rim, color="#BBBBBB"))
    axes.add_patch(Rectangle((-s.wall, -s.wall), 2 * s.wall, 2 * s.wall, color="white"))
    axes.add_patch(Circle((0.0, 0.0), s.home_size, color="#444444", label="home"))
    for j in range(track.resources.shape[1]):
        colour = _TYPES[j % s.resource_types % len(_TYPES)]
        places, first = np.unique(track.resources[:, j], axis=0, return_index=True)
        for place, step in zip(places, first, strict=True):
            axes.add_patch(Circle(tuple(place), s.resource_size, color=colour, alpha=1.0 if step == 0 else 0.45))
    axes.set_xlim(-rim, rim)
    axes.set_ylim(-rim, rim)
    axes.set_aspect("equal")


def _draw_ways(axes: Axes, track: Track) -> None:
    for i in range(track.agents.shape[1]):
        way, carries, colour = track.agents[:, i], track.carries[:, i], _AGENTS[i % len(_AGENTS)]
        axes.plot(*way[0], "o", color=colour, markersize=5)
        axes.plot(*way.T, color=colour, linewidth=0.9)
        laden = np.where((carries != NOTHING)[:, None], way, np.nan)
        axes.plot(*laden.T, color=colour, linewidth=2.6, alpha=0.6)
        took = np.flatnonzero((carries[1:] != NOTHING) & (carries[:-1] == NOTHING)) + 1
        gave = np.flatnonzero((carries[1:] == NOTHING) & (carries[:-1] != NOTHING)) + 1
        axes.plot(*way[took].T, "^", color=colour, markersize=6)
        axes.plot(*way[gave].T, "s", color=colour, markersize=5)


def _draw_invader(axes: Axes, track: Track) -> None:
    there = ~np.isnan(track.invader[:, 0])
    axes.plot(*track.invader.T, "--", color=_INVADER, linewidth=1.2)
    gone = np.flatnonzero(there[:-1] & ~there[1:])
    axes.plot(*track.invader[gone].T, "x", color=_INVADER, markersize=8, markeredgewidth=2)
    signs = {"o": "start", "^": "collected", "s": "delivered"}
    handles = [Line2D([], [], linestyle="", marker=sign, color="black", label=label) for sign, label in signs.items()]
    handles.append(Line2D([], [], linestyle="--", marker="x", color=_INVADER, label="invader, gone"))
    axes.legend(handles=handles, frameon=False, ncols=4, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.06))

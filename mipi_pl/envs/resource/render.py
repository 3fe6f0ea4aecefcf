"""Picture of one episode of Resource Collection: paths, collected resources, the invader and the return."""

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

# Palette of Okabe and Ito, safe for colour-blind readers: lines for agents, fills for resource types.
_AGENTS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#000000", "#7F7F7F", "#8C5109")
_TYPES = ("#9ECAE1", "#FDD0A2", "#C7E9C0", "#DADAEB", "#D9D9D9")
_INVADER = "#D55E00"


@dataclass(frozen=True)
class Track:
    """Recorded episode of n agents and R resources, from the first observation to the last.

    Attributes:
        scenario: scenario of the episode.
        agents: float64 [T+1, n, 2], positions of the agents.
        carries: int64 [T+1, n], type of the carried resource, -1 for none.
        resources: float64 [T+1, R, 2], positions of the resources.
        invader: float64 [T+1, 2], position of the invader; NaN while it is away.
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
    """Reset the environment, play an episode, and record one of its rows.

    Args:
        env: B environments.
        policy: policy that acts in all of them.
        index: row to record.
        steps: T, number of steps; None plays to the end.

    Raises:
        ValueError: if the row does not exist or `steps` is not positive.
    """
    if not 0 <= index < env.num_envs or (steps is not None and steps < 1):
        raise ValueError(f"expected an index below {env.num_envs} and at least one step, got {index} and {steps}")
    td, rewards = env.reset(), []
    positions = [_positions(env, index)]
    for _ in range(min(steps or env.entity_spec.max_steps, env.entity_spec.max_steps)):
        td = env.step(policy(td))["next"]
        rewards.append(float(td[keys.REWARD][index]))
        positions.append(_positions(env, index))
    agents, carries, resources, invader = (np.stack(part) for part in zip(*positions, strict=True))
    return Track(env.scenario, agents, carries, resources, invader, np.array(rewards))


def _positions(env: ResourceCollection, b: int) -> tuple[np.ndarray, ...]:
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
    """Draw the ground from above, north up, next to the cumulative return.

    The path of an agent is a line that starts at a dot and is thick while the agent carries a resource. Triangles mark
    collected resources, squares delivered ones. Resources are discs in the colour of their type, faint if they appeared
    after the first step. The path of the invader is dashed; a cross marks where it was caught or arrived.
    """
    figure = Figure(figsize=(10.5, 5.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    ground, returns = figure.subplots(1, 2, width_ratios=(1.25, 1))
    _draw_ground(ground, track)
    _draw_paths(ground, track)
    _draw_invader(ground, track)
    returns.plot(np.concatenate([[0.0], np.cumsum(track.rewards)]), color="black")
    returns.set_xlabel("step")
    returns.set_ylabel("return so far")
    returns.spines[["top", "right"]].set_visible(False)
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
        positions, first = np.unique(track.resources[:, j], axis=0, return_index=True)
        for position, step in zip(positions, first, strict=True):
            axes.add_patch(Circle(tuple(position), s.resource_size, color=colour, alpha=1.0 if step == 0 else 0.45))
    axes.set_xlim(-rim, rim)
    axes.set_ylim(-rim, rim)
    axes.set_aspect("equal")


def _draw_paths(axes: Axes, track: Track) -> None:
    for i in range(track.agents.shape[1]):
        path, carries, colour = track.agents[:, i], track.carries[:, i], _AGENTS[i % len(_AGENTS)]
        axes.plot(*path[0], "o", color=colour, markersize=5)
        axes.plot(*path.T, color=colour, linewidth=0.9)
        carrying = np.where((carries != NOTHING)[:, None], path, np.nan)
        axes.plot(*carrying.T, color=colour, linewidth=2.6, alpha=0.6)
        collected = np.flatnonzero((carries[1:] != NOTHING) & (carries[:-1] == NOTHING)) + 1
        delivered = np.flatnonzero((carries[1:] == NOTHING) & (carries[:-1] != NOTHING)) + 1
        axes.plot(*path[collected].T, "^", color=colour, markersize=6)
        axes.plot(*path[delivered].T, "s", color=colour, markersize=5)


def _draw_invader(axes: Axes, track: Track) -> None:
    present = ~np.isnan(track.invader[:, 0])
    axes.plot(*track.invader.T, "--", color=_INVADER, linewidth=1.2)
    gone = np.flatnonzero(present[:-1] & ~present[1:])
    axes.plot(*track.invader[gone].T, "x", color=_INVADER, markersize=8, markeredgewidth=2)
    markers = {"o": "start", "^": "collected", "s": "delivered"}
    handles = [Line2D([], [], linestyle="", marker=mark, color="black", label=label) for mark, label in markers.items()]
    handles.append(Line2D([], [], linestyle="--", marker="x", color=_INVADER, label="invader, gone"))
    axes.legend(handles=handles, frameon=False, ncols=4, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.06))

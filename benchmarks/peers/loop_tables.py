"""Markdown tables of the comparison with JaxMARL."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Curve = Sequence[tuple[float, int, float | None]]
"""Seconds, frames and win rate of each update of a training; see `loop_recorder.LoopRecorder`."""
WINDOW = 16_384
"""Frames over which a win rate is averaged."""
MARKS_S = (10, 20, 30, 60, 90, 120, 180, 300, 600, 1200, 1800)
"""Times of the table of `learning`, in seconds."""
TITLES = {
    "mipi_ppo": "MIPI-PPO, width 64",
    "mappo": "MAPPO, width 64",
    "jaxmarl_ippo_64": "JaxMARL IPPO, width 64",
    "jaxmarl_ippo_128": "JaxMARL IPPO, width 128",
    "jaxmarl_mappo_64": "JaxMARL MAPPO, width 64",
    "jaxmarl_mappo_128": "JaxMARL MAPPO, width 128",
}


def win_rate(curve: Curve, seconds: float) -> float | None:
    """Returns the mean win rate of the last `WINDOW` frames at a time; None if no episode ended in them."""
    past = [update for update in curve if update[0] <= seconds]
    rates = [rate for _, frames, rate in past if rate is not None and frames > past[-1][1] - WINDOW]
    return statistics.mean(rates) if rates else None


def first_time(curve: Curve, target: float) -> float | None:
    """Returns the seconds after which the win rate first reaches a target; None if it does not."""
    times = (seconds for seconds, _, _ in curve if (win_rate(curve, seconds) or 0.0) >= target)
    return next(times, None)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table whose first column is text."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def speed_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Format the results of `speed` on one map."""
    head = ["side", "frames/s", "frames/processor s", "MIPI-PPO over it", "spread", "peak memory, MiB", "build, s"]
    ours = next((row["frames_per_cpu_s"] for row in rows if row["side"] == "mipi_ppo"), None)
    return table(
        head,
        [
            [
                TITLES[row["side"]],
                f"{row['frames_per_s']:,.0f}",
                f"{row['frames_per_cpu_s']:,.0f}",
                "-" if ours is None else f"{ours / row['frames_per_cpu_s']:.2f}",
                f"{row['spread_per_cpu_s']:.2f}",
                f"{row['peak_memory_mib']:,.0f}",
                f"{row['build_s']:.1f}",
            ]
            for row in rows
        ],
    )


def learning_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Format the results of `learning` on one map."""
    longest = max(row["curve"][-1][0] for row in rows)
    marks = [mark for mark in MARKS_S if mark <= longest]

    def shown(value: float | None, digits: int = 2) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    head = ["side", *[f"at {mark} s" for mark in marks], "at the end", "s to 0.5", "s to 0.8", "frames", "build, s"]
    cells = []
    for row in rows:
        curve = row["curve"]
        end_s, frames, _ = curve[-1]
        rates = [win_rate(curve, mark) if mark <= end_s else None for mark in marks]
        reached = [first_time(curve, target) for target in (0.5, 0.8)]
        values = [shown(rate) for rate in (*rates, win_rate(curve, end_s))] + [shown(time_s, 0) for time_s in reached]
        cells.append([TITLES[row["side"]], *values, f"{frames:,}", f"{row['build_s']:.1f}"])
    return table(head, cells)


def tables(
    rows: Sequence[Mapping[str, Any]], title: str, format_map: Callable[[Sequence[Mapping[str, Any]]], str]
) -> str:
    """Returns a titled table for each map."""
    by_map = {name: [row for row in rows if row["map"] == name] for name in dict.fromkeys(row["map"] for row in rows)}
    return "\n\n".join(f"{name}, {title}\n\n{format_map(chosen)}" for name, chosen in by_map.items())

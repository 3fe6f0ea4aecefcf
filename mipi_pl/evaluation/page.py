"""Recordings as one self-contained HTML page, with script, style and data inside."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from torch import Tensor

from mipi_pl.envs.picture import CORNERS, SIDE_COLOURS
from mipi_pl.envs.scene import AGENTS, Body
from mipi_pl.evaluation.recording import Recording, common_view
from mipi_pl.storage.files import replacing


def write_page(path: Path, title: str, note: str, episodes: Mapping[str, Sequence[Recording]]) -> None:
    """Write the page atomically.

    Args:
        path: HTML file to write.
        title: title of the page.
        note: text below the title: what the page shows and how it was made.
        episodes: recordings to show side by side, with the same team and seed, by name of the episode.

    Raises:
        OSError: if the file cannot be written.
    """
    kinds = sorted({body.kind for plays in episodes.values() for play in plays for body in play.scenes[0].bodies})
    data = {
        "kinds": [{"name": kind, "corners": CORNERS[k % len(CORNERS)]} for k, kind in enumerate(kinds)],
        "colours": [f"rgb{SIDE_COLOURS[side]}" for side in sorted(SIDE_COLOURS)],
        "episodes": [
            {"name": name, "view": _rounded(common_view(plays)), "plays": [_play(r, kinds) for r in plays]}
            for name, plays in episodes.items()
        ],
    }
    parts = {
        "title": html.escape(title),
        "note": html.escape(note),
        "style": _part("watch.css"),
        "script": _part("watch_draw.js") + _part("watch.js"),
        # Escaped so that no text in the data can close the script element.
        "data": json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
    }
    text = _part("watch.html")
    for name, part in parts.items():
        text = text.replace(f"<!--{name}-->", part)
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8", errors="backslashreplace")  # of a path in the command


def _part(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _play(r: Recording, kinds: Sequence[str]) -> dict[str, Any]:
    bodies = r.scenes[0].bodies
    return {
        "policy": r.policy,
        "composition": r.composition,
        "actions": [name.replace("_", " ") for name in r.action_names],
        "won": r.won,
        "ground": _rounded(r.scenes[0].size),
        "sight": r.scenes[0].sight,
        "bodies": [
            {
                "slot": b.slot,
                "side": b.side,
                "kind": kinds.index(b.kind),
                "name": b.name,
                "label": b.label,
                "r": b.radius,
            }
            for b in bodies
        ],
        "steps": [[_moment(b) for b in scene.bodies] for scene in r.scenes],
        "outcomes": [scene.outcome for scene in r.scenes],
        "rewards": _rounded(r.rewards),
        "agents": {b.slot: _agent(r, b.slot, [b.slot for b in bodies]) for b in bodies if b.side == AGENTS},
    }


def _moment(b: Body) -> list[Any]:
    return [*_rounded((b.x, b.y)), int(b.here), *_rounded((b.health, b.shield)), b.order, b.target, b.carries]


def _agent(r: Recording, slot: int, slots: list[int]) -> dict[str, Any]:
    """Data of one agent, restricted to actions that were available at least once (`rows`) and to filled slots."""
    rows = r.available[:, slot].any(dim=0).nonzero().flatten().tolist()
    data: dict[str, Any] = {
        "rows": rows,
        "action": r.action[:, slot].tolist(),
        "available": r.available[:, slot, rows].int().tolist(),
        "sees": r.visible[:, slot, slots].int().tolist(),
    }
    insight = r.insight
    if insight is None:
        return data

    def keep(name: str, values: Tensor | None, columns: list[int] | None) -> None:
        if values is not None:
            data[name] = _rounded((values[:, slot] if columns is None else values[:, slot, columns]).tolist())

    keep("policy", insight.probabilities, rows)
    keep("marginal", insight.marginal, rows)
    keep("utility", insight.utilities, rows)
    keep("attention", insight.attention, slots)
    keep("kl", insight.kl, None)
    return data


def _rounded(values: Sequence[Any]) -> list[Any]:
    """Rounds to five decimal places, which is invisible on the page and halves the size of the file."""
    return [v if v is None else _rounded(v) if isinstance(v, Sequence) else round(float(v), 5) for v in values]

"""The content of a finished run that must not depend on interruptions."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import torch


def content(folder: Path) -> dict[str, Any]:
    """All that must be equal: the last checkpoint, without what names the run, and the log files."""
    saved: dict[str, Any] = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    record = saved.pop("mipi")
    if "ReplayDataModule" in saved:  # others keep no episodes
        capacity = record["config"]["datamodule"]["capacity"]
        data, folder_of = saved["ReplayDataModule"], folder / "checkpoints" / "replay"
        saved["replay"] = [
            replay_of(folder_of / (f"rank_{rank}" if rank else ""), one.pop("journal"), capacity)
            for rank, one in enumerate(data.get("of_ranks", [data]))
        ]
    results = json.loads((folder / "results.json").read_text())
    scores = {key: results[key] for key in ("training", "held_out", "before", "frames", "updates")}
    logs = {"metrics": without_speeds(folder / "metrics.csv"), "evaluations": (folder / "evaluations.csv").read_bytes()}
    return {**saved, "random": record["random"], "scores": scores, "logs": logs}


def without_speeds(path: Path) -> list[dict[str, str]]:
    """The rows of a log but for what a clock measured."""
    assert b"\n" not in path.read_bytes().replace(b"\r\n", b""), "line ends of two kinds"
    with path.open(newline="") as file:
        return [{key: row[key] for key in row if not key.startswith("speed/")} for row in csv.DictReader(file)]


def replay_of(folder: Path, segments: list[dict[str, Any]], capacity: int) -> dict[str, torch.Tensor]:
    """The kept episodes, however they are spread over files."""
    parts = [torch.load(folder / s["file"], weights_only=True) for s in segments]
    joined = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
    kept = min(capacity, len(joined["lengths"]))  # the oldest file may hold some that are no longer needed
    steps = int(joined["lengths"][-kept:].sum())
    one_each = ("lengths", "won", "composition")
    return {key: tensor[-kept:] if key in one_each else tensor[-steps:] for key, tensor in joined.items()}


def differences(a: Any, b: Any, where: str = "") -> list[str]:
    """Paths at which two nested contents differ."""
    if isinstance(a, torch.Tensor):
        return [] if isinstance(b, torch.Tensor) and torch.equal(a, b) else [where]
    if isinstance(a, dict):
        if a.keys() != b.keys():
            return [f"{where}: {sorted(map(str, a.keys() ^ b.keys()))}"]
        return [found for key in a for found in differences(a[key], b[key], f"{where}/{key}")]
    if isinstance(a, (list, tuple)):
        pairs = enumerate(zip(a, b, strict=True))
        return [found for i, (x, y) in pairs for found in differences(x, y, f"{where}/{i}")]
    return [] if a == b else [f"{where}: {a!r} {b!r}"[:200]]

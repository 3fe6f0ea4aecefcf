"""Checkpoints that refer to classes by former modules can still be resumed."""

from __future__ import annotations

import importlib
from pathlib import Path

import torch

from mipi_pl.storage.checkpoint_file import _MOVED, RECORD, read_checkpoint


def test_former_names_become_the_present_ones(finished_run: Path, tmp_path: Path) -> None:
    content = torch.load(finished_run / "checkpoints" / "last.ckpt", weights_only=True)
    node = content[RECORD]["config"]["logger"]["csv"]
    present = node["_target_"]
    node["_target_"] = next(former for former, now in _MOVED.items() if now == present)
    torch.save(content, tmp_path / "older.ckpt")
    _, config = read_checkpoint(tmp_path / "older.ckpt")
    assert config["logger"]["csv"]["_target_"] == present


def test_the_present_names_exist_and_the_former_do_not() -> None:
    for former, present in _MOVED.items():
        module, _, name = present.rpartition(".")
        assert hasattr(importlib.import_module(module), name)
        assert not (Path(importlib.import_module("mipi_pl").__path__[0]) / f"{former.split('.')[1]}.py").exists()

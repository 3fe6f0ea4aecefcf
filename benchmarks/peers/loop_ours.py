"""Our side of the comparison with JaxMARL: an on-policy training loop on one map, with `experiment=cpu`.

python benchmarks/peers/loop_ours.py --algorithm mipi_ppo --map 3s5z --width 64 --threads 1 --seconds 5
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer, seed_everything
from loop_recorder import LoopRecorder
from omegaconf import OmegaConf
from turns import claim_output, my_turn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mipi_pl.callbacks.frame_budget import FrameBudget
from mipi_pl.run.compose import compose
from mipi_pl.run.config import resolve
from mipi_pl.run.parts import assemble
from mipi_pl.run.processes import build_trainer
from mipi_pl.run.quiet import quieten
from mipi_pl.storage import provenance
from mipi_pl.utils.threads import set_threads

OMITTED = ("generalization", "video", "collection", "checkpointing")
"""Callbacks that JaxMARL's training function has no counterpart of. The frame budget is omitted, too: turns end it."""
REPORTED = ("algorithm", "datamodule", "env", "network")
"""Settings to report."""


class Recording(Callback):
    """Callback that records every update, and stops training when there are no more turns.

    Args:
        recorder: recorder of the updates.
        start_s: `time.perf_counter()` before the build.
    """

    def __init__(self, recorder: LoopRecorder, start_s: float) -> None:
        self.recorder, self.start_s = recorder, start_s
        self.frames = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the first turn."""
        self.recorder.begin(time.perf_counter() - self.start_s)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Record the update and the win rate of its rollout."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        won = [float(episode) for summaries in data.finished() for episode in summaries["won"].float()]
        frames, self.frames = data.frames - self.frames, data.frames
        trainer.should_stop = not self.recorder.update(frames, sum(won) / len(won) if won else None)


def train(options: argparse.Namespace, recorder: LoopRecorder, config: dict[str, Any], folder: Path) -> None:
    """Train as `mipi train` does, without `OMITTED`, until the turns end."""
    start_s = time.perf_counter()
    for name in OMITTED:
        del config["callbacks"][name]
    seed_everything(config["seed"], workers=True, verbose=False)
    quieten()
    set_threads(options.threads)
    parts = assemble(config, folder, build_trainer(config["trainer"]))
    callbacks: list[Callback] = parts.trainer.callbacks  # type: ignore[attr-defined]
    callbacks[:] = [callback for callback in callbacks if not isinstance(callback, FrameBudget)]
    callbacks.append(Recording(recorder, start_s))
    parts.trainer.fit(parts.algorithm, datamodule=parts.datamodule)


def main() -> None:
    """Train in turns until they end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--algorithm", choices=("mappo", "mipi_ppo"), required=True, help="our algorithm")
    parser.add_argument("--map", required=True, help="a map of configs/env, without the prefix map_")
    parser.add_argument("--width", type=int, required=True, help="width of the networks and of the recurrent state")
    parser.add_argument("--threads", type=int, required=True, help="processor threads")
    parser.add_argument("--seconds", type=float, required=True, help="shortest length of a turn")
    options = parser.parse_args()
    output = claim_output()
    with tempfile.TemporaryDirectory() as folder:
        chosen = ["experiment=cpu", f"algorithm={options.algorithm}", f"env=map_{options.map}", f"output_dir={folder}"]
        chosen += [f"network.width={options.width}", f"network.hidden={options.width}"]
        composed = compose(chosen)
        config = resolve(composed)
        about = {"settings": {name: config[name] for name in REPORTED}, "versions": provenance.versions()}
        recorder = LoopRecorder(output, options.seconds, OmegaConf.to_container(OmegaConf.create(about)))
        if my_turn():
            train(options, recorder, config, Path(folder))


if __name__ == "__main__":
    main()

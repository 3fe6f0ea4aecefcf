"""Our side of the comparison with REFIL: the learners and the whole training loop.

    python benchmarks/peers/ours.py update --algorithm mipi --precision 32-true --batch FILE
    python benchmarks/peers/ours.py loop --algorithm mipi --precision bf16-mixed

The networks are those of `network=refil` and the settings are the defaults of `configs/`; both are the paper's. FILE is
a file written by `batches.py`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TextIO

import torch
from lightning import Callback, LightningModule, Trainer, seed_everything
from tensordict import TensorDictBase

ROOT = Path(__file__).resolve().parents[2]
for folder in ("", "benchmarks", "tests/references"):
    sys.path.insert(0, str(ROOT / folder))

from batches import load, spec_of  # noqa: E402
from turns import Report, claim_output, my_turn, processor_seconds, report  # noqa: E402
from worlds import drive  # noqa: E402

from mipi_pl import spec as keys  # noqa: E402
from mipi_pl.callbacks.imaginary_partition import ImaginaryPartition  # noqa: E402
from mipi_pl.datamodules.trimming import trim  # noqa: E402
from mipi_pl.run.build import build  # noqa: E402
from mipi_pl.run.compose import compose  # noqa: E402
from mipi_pl.run.config import resolve  # noqa: E402
from mipi_pl.run.parts import assemble  # noqa: E402
from mipi_pl.run.processes import build_trainer  # noqa: E402
from mipi_pl.run.train import quieten  # noqa: E402
from mipi_pl.utils.threads import set_threads  # noqa: E402

NETWORKS = "network=refil"
ENVIRONMENTS = 8
PRECISIONS = ("32-true", "bf16-mixed")


def updates(algorithm: str, precision: str, path: Path) -> Callable[[], Report]:
    """Returns a turn that makes one update on the batch of the file, trimmed as the replay trims a batch."""
    seed_everything(0, verbose=False)
    episodes = load(path)
    spec = spec_of(episodes)
    learner = build("algorithm", resolve(compose([f"algorithm={algorithm}", NETWORKS]))["algorithm"], spec=spec)
    batch = trim(episodes, spec.n_agents)
    ImaginaryPartition().on_train_batch_start(None, learner, batch, 0)

    def turn() -> Report:
        # The same as Lightning's `trainer.precision=bf16-mixed`.
        with torch.autocast("cpu", torch.bfloat16) if precision == "bf16-mixed" else nullcontext():
            start_s, start_cpu_s = time.perf_counter(), time.process_time()
            drive(learner, [batch])
            return {"seconds": time.perf_counter() - start_s, "cpu_seconds": time.process_time() - start_cpu_s}

    return turn


class Turns(Callback):
    """Callback that ends a turn after every 8 updates and reports what the turn did.

    Args:
        output: stream for the reports.
    """

    def __init__(self, output: TextIO) -> None:
        self.output = output
        self.collecting_s = 0.0
        self.lengths: list[float] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Time the collection separately, and wait for the first turn."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        collect = data.collect

        def timed() -> None:
            start_s = time.perf_counter()
            collect()
            self.collecting_s += time.perf_counter() - start_s

        data.collect = timed
        self._wait(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: TensorDictBase, batch_idx: int
    ) -> None:
        """Report and wait if the turn is over."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        self.lengths.append(float(batch.get(keys.VALID).sum()) / len(batch))
        if (data.batches - self.first[2]) % ENVIRONMENTS:
            return
        frames, episodes, batches = self.first
        done = {
            "seconds": time.perf_counter() - self.start_s,
            "cpu_seconds": processor_seconds() - self.start_cpu_s,
            "seconds_collecting": self.collecting_s,
            "frames": data.frames - frames,
            "episodes": data.episodes - episodes,
            "updates": data.batches - batches,
            "length": statistics.mean(self.lengths),
        }
        report(self.output, done)
        self._wait(trainer)

    def _wait(self, trainer: Trainer) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        trainer.should_stop = not my_turn()
        self.first = (data.frames, data.episodes, data.batches)
        self.lengths = []
        self.collecting_s, self.start_s, self.start_cpu_s = 0.0, time.perf_counter(), processor_seconds()


def train(algorithm: str, precision: str, threads: int, output: TextIO) -> None:
    """Train as `mipi train` does, without evaluations, until the turns end: Stalkers and Zealots, 8 against 8."""
    with tempfile.TemporaryDirectory() as folder:
        chosen = [f"algorithm={algorithm}", NETWORKS, "env=sz", "env.team_sizes=[8]", "datamodule.capacity=256"]
        config = resolve(compose([*chosen, f"++trainer.precision={precision}", f"output_dir={folder}"]))
        del config["callbacks"]["generalization"], config["callbacks"]["checkpointing"]
        seed_everything(config["seed"], verbose=False)
        quieten()
        set_threads(threads)
        parts = assemble(config, Path(folder), build_trainer(config["trainer"]))
        parts.trainer.callbacks.append(Turns(output))  # type: ignore[attr-defined]
        parts.trainer.fit(parts.algorithm, datamodule=parts.datamodule)


def main() -> None:
    """Work in turns until they end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("update", "loop"), help="what to measure")
    parser.add_argument("--algorithm", default="mipi", help="(default %(default)s)")
    parser.add_argument("--precision", choices=PRECISIONS, default=PRECISIONS[0], help="(default %(default)s)")
    parser.add_argument("--batch", type=Path, help="a file of batches.py, for `update`")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="PyTorch threads")
    options = parser.parse_args()
    output = claim_output()
    if options.what == "loop":
        train(options.algorithm, options.precision, options.threads, output)
        return
    set_threads(options.threads)
    turn = updates(options.algorithm, options.precision, options.batch)
    while my_turn():
        report(output, turn())


if __name__ == "__main__":
    main()

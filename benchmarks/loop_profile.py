"""Where the processor time of the training loop goes, compared with the limit of its matrix products.

    python benchmarks/loop_profile.py [--algorithm mipi_ppo] [--frames 40000] [--operations 0] [key=value ...]

Plays and learns with `experiment=cpu` on one thread, without evaluations. Prints the share of each part of the loop,
the floating-point operations of the matrix products per frame, and the speed of PyTorch's own product of two matrices
of the loop's sizes on this machine. The limit is the frames per second of a loop that did nothing but these products
at that speed. The products inside the attention and target kernels are not counted; they are small. `--operations`
lists so many of the operations in which PyTorch's profiler saw most time. Ends with a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "references"))

from worlds import drive

from mipi_pl.callbacks.imaginary_partition import ImaginaryPartition
from mipi_pl.models.kernels import gru
from mipi_pl.run.build import build
from mipi_pl.run.compose import compose
from mipi_pl.run.config import resolve
from mipi_pl.utils.threads import set_threads

PARTS = {
    "on-policy": {
        "_evaluate_rollout": "log-probabilities, values and advantages before learning",
        "_learn_marginal": "marginal policy",
        "_improve_policy": "policy",
        "_improve_critic": "critic",
    },
    "off-policy": {
        "critic_loss": "critic and mixer, without the backward pass",
        "_evaluate_joint_policy": "critic and mixer",
        "_fit_marginal": "marginal policy, backward",
        "_step_policy": "policy, backward",
    },
}
PRODUCTS = ("aten::mm", "aten::addmm", "aten::addmm_", "aten::bmm")


class Clock:
    """Processor seconds by name."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns the function with its processor time added to `name`."""

        def run(*arguments: Any, **options: Any) -> Any:
            start_s = time.process_time()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds[name] += time.process_time() - start_s

        return run


class Loop:
    """The training loop of `experiment=cpu` without a trainer."""

    def __init__(self, overrides: list[str]) -> None:
        config = resolve(compose(["experiment=cpu", "threads=1", *overrides]))
        torch.manual_seed(0)
        self.data = build("datamodule", config["datamodule"])
        self.algorithm = build("algorithm", config["algorithm"], spec=self.data.env.entity_spec)
        self.data.connect(self.algorithm.actor(greedy=False, seed=0))
        self._partition, self.clock = ImaginaryPartition(), Clock()
        parts = PARTS["on-policy" if self.algorithm.on_policy else "off-policy"]
        self.parts = {method: part for method, part in parts.items() if hasattr(self.algorithm, method)}
        for method, part in self.parts.items():
            object.__setattr__(self.algorithm, method, self.clock.timed(part, getattr(self.algorithm, method)))
        self._collect = self.clock.timed("collection", self.data.next_batch)
        self._learn = self.clock.timed("learning", drive)

    def run(self, frames: int) -> int:
        """Collect and learn for at least so many frames; returns their number."""
        first = self.data.frames
        while self.data.frames - first < frames:
            batch = self._collect()
            self._partition.on_train_batch_start(None, self.algorithm, batch, 0)
            self._learn(self.algorithm, [batch])
        return self.data.frames - first


def profiled(loop: Loop, frames: int) -> tuple[float, dict[str, float]]:
    """Profile the loop for some frames.

    Returns:
        The floating-point operations of the matrix products per frame, in millions, and the microseconds per frame of
        each operation, without the operations that it calls.
    """
    kernel_flop = 0

    def counted(function: Callable[..., Any], flop: Callable[..., int]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            nonlocal kernel_flop
            kernel_flop += flop(*arguments)
            return function(*arguments)

        return run

    originals = gru.forward, gru.backward
    gru.forward = counted(gru.forward, lambda rows, a, b, *_: 2 * len(rows) * (a.size + b.size))
    gru.backward = counted(gru.backward, lambda gates, _, __, weight, *___: 2 * len(gates) * weight.size)
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True, with_flops=True) as recorded:
        played = loop.run(frames)
    gru.forward, gru.backward = originals
    events = recorded.key_averages()
    flop = sum(event.flops for event in events if event.key in PRODUCTS)
    return float((flop + kernel_flop) / played / 1e6), {e.key: e.self_cpu_time_total / played for e in events}


def product_speed(repeats: int = 300) -> float:
    """Returns the speed of PyTorch's product of [2048, 64] and [64, 128], in billions of operations per second."""
    left, right, out = torch.randn(2048, 64), torch.randn(128, 64), torch.empty(2048, 128)
    for _ in range(20):
        torch.mm(left, right.t(), out=out)
    start_s = time.process_time()
    for _ in range(repeats):
        torch.mm(left, right.t(), out=out)
    return 2 * left.numel() * 128 * repeats / (time.process_time() - start_s) / 1e9


def main() -> None:
    """Print the table and a final line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--algorithm", default="mipi_ppo", help="algorithm of `mipi train` (default %(default)s)")
    parser.add_argument("--frames", type=int, default=40_000, help="frames to measure (default %(default)s)")
    parser.add_argument("--operations", type=int, default=0, help="operations to list (default %(default)s)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="arguments of mipi train")
    options = parser.parse_args()
    set_threads(1)
    loop = Loop([f"algorithm={options.algorithm}", *options.overrides])
    loop.run(options.frames // 4)  # warm up
    loop.clock.seconds.clear()
    start_s = time.process_time()
    frames = loop.run(options.frames)
    seconds, shares = time.process_time() - start_s, dict(loop.clock.seconds)
    print(f"| part of {options.algorithm} | share | microseconds per frame |\n|---|---:|---:|")
    for name in ("collection", *loop.parts.values(), "learning"):
        title = "learning, all" if name == "learning" else name
        print(f"| {title} | {shares.get(name, 0.0) / seconds:.0%} | {shares.get(name, 0.0) / frames * 1e6:.1f} |")
    (mflop, operations), speed = profiled(loop, options.frames // 8), product_speed()
    if options.operations:
        print(f"\n| operation, of {sum(operations.values()):.0f} | microseconds per frame |\n|---|---:|")
        for name in sorted(operations, key=operations.__getitem__, reverse=True)[: options.operations]:
            print(f"| {name} | {operations[name]:.1f} |")
    figures = {
        "frames_per_core_s": round(frames / seconds, 1),
        "products_mflop_per_frame": round(mflop, 2),
        "product_gflop_per_s": round(speed, 1),
        "limit_frames_per_core_s": round(1e3 * speed / mflop, 1),
        "ratio_to_limit": round(frames / seconds * mflop / speed / 1e3, 3),
    }
    print(
        f"\n{figures['frames_per_core_s']:,.0f} frames per processor second; matrix products: {mflop:.1f} MFLOP a "
        f"frame, {speed:.0f} GFLOP/s on this core, so at most {figures['limit_frames_per_core_s']:,.0f} frames/s"
    )
    print(json.dumps(figures | {name: round(share / seconds, 3) for name, share in shares.items()}))


if __name__ == "__main__":
    main()

"""Fuzz test of the command line: random configurations, each in a fork with a time limit.

    python benchmarks/fuzz_configs.py [--cases 5000] [--seed 0] [--first 0] [--jobs 2] [--results FILE] [--verbose]

Each case is a valid command with one to three random changes (tests/references/fuzz_draws.py) and depends only on the
seed and its number. Its outcome is one of

* ran: exit code 0;
* refused: exit code 2 and one line on stderr;
* failed: exit code 1 and one line on stderr, such as diverged learning;
* long: it has said that it trains for 1,000 frames or more, or given a note on an unusual amount of work, was stopped
  after --limit processor seconds, and Ctrl-C ended it;
* traceback, hang or other: a defect. A hang is a case that did not say so and used --silent-limit processor seconds,
  used none for three minutes, or exceeded --wall-limit. Defects are listed at the end, and the exit code is 1.

Outcomes are appended to --results as they come. The same command with the same file continues a run that was ended; it
repeats defects and the cases of another commit.
"""

from __future__ import annotations

import argparse
import os
import random
import shlex
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "references"))
os.environ.update(OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="1", WANDB_MODE="disabled", MPLBACKEND="agg")

from fuzz_cases import DEFECTS, Case, Limits, Results, import_everything, run
from fuzz_draws import TRAIN_BASES, Scene, command_line, keys_of

from mipi_pl.storage.provenance import commit
from mipi_pl.utils.cores import usable_cores


def prepare(root: Path) -> Scene:
    """Train two tiny runs that the commands can open, and read the keys of all configs."""
    from omegaconf import OmegaConf

    from mipi_pl.run.compose import compose

    checkpoints: dict[str, dict[str, object]] = {}
    keys = {}
    for base in TRAIN_BASES:
        config = OmegaConf.to_container(compose([*base, "debug=tiny"]))
        keys[base] = keys_of(config)
    for number, base in ((0, TRAIN_BASES[0]), (4, TRAIN_BASES[4])):
        folder = root / f"prepared_{number}"
        words = ["train", *base, "debug=tiny", "threads=1", "held_out.episodes=2", f"output_dir={folder / 'runs'}"]
        outcome = run(words, folder / "log", Limits(600, 600))
        if outcome.kind != "ran":
            sys.exit(f"the valid command did not run ({outcome.kind}): {shlex.join(words)}\n{outcome.output}")
        checkpoint = str((folder / "runs" / "latest" / "checkpoints" / "last.ckpt").resolve())
        checkpoints[checkpoint] = {key: value for key, value in keys[base].items() if key.startswith("env.")}
    checkpoints["quickstart"] = checkpoints[checkpoint]
    return Scene(checkpoints, Path(checkpoint).parents[1], keys)


def arguments_of_command() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Run random configurations and sort their outcomes.")
    parser.add_argument("--cases", type=int, default=5000, help="number of configurations (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the configurations")
    parser.add_argument("--first", type=int, default=0, help="number of the first configuration")
    parser.add_argument("--jobs", type=int, default=usable_cores(), help="processes at a time (default: cores)")
    parser.add_argument(
        "--limit", type=float, default=20.0, help="processor seconds of a case that says it is long (default: 20)"
    )
    parser.add_argument(
        "--silent-limit", type=float, default=120.0, help="processor seconds of any other case (default: 120)"
    )
    parser.add_argument("--wall-limit", type=float, default=3600.0, help="seconds of any case (default: an hour)")
    parser.add_argument(
        "--results", type=Path, help="file of the outcomes (default: outputs/fuzz/seed_<seed>.jsonl); continued"
    )
    parser.add_argument("--verbose", action="store_true", help="print every command with its outcome and last line")
    parser.add_argument("--only", nargs="+", help="command lines to run instead, for example those that were listed")
    return parser.parse_args()


def main() -> None:
    """Run the cases, print the outcomes; exits with 1 if there was a defect."""
    arguments = arguments_of_command()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no process is left behind
    import_everything()
    limits = Limits(arguments.limit, arguments.silent_limit, arguments.wall_limit)
    root = Path(tempfile.mkdtemp(prefix="mipi-fuzz-"))
    try:
        if arguments.only:
            numbers = range(len(arguments.only))
            results = Results(root / "results.jsonl", commit())
            for number, line in enumerate(arguments.only):
                results.add(run(shlex.split(line), root / f"case_{number}", limits, number))
                print(f"{results.outcomes[-1]}\n{results.outcomes[-1].output}", flush=True)
        else:
            numbers = range(arguments.first, arguments.first + arguments.cases)
            results = Results(arguments.results or Path(f"outputs/fuzz/seed_{arguments.seed}.jsonl"), commit())
            _run_all(numbers, arguments, limits, root, results)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    found = [outcome for outcome in results.latest(numbers) if outcome.kind in DEFECTS]
    for outcome in found:
        print(f"\n{outcome.kind} (exit code {outcome.code}): mipi {shlex.join(outcome.words)}\n{outcome.output}")
    print(results.summary(numbers))
    sys.exit(bool(found))


def _run_all(numbers: range, arguments: argparse.Namespace, limits: Limits, root: Path, results: Results) -> None:
    scene = prepare(root)
    waiting, running = results.missing(numbers)[::-1], set[Case]()
    try:
        while waiting or running:
            while waiting and len(running) < arguments.jobs:
                number = waiting.pop()
                words = command_line(random.Random(f"{arguments.seed} {number}"), scene)
                running.add(Case(number, words, root / f"case_{number}", limits))
            time.sleep(0.02)
            for case in list(running):
                if (outcome := case.poll()) is None:
                    continue
                running.remove(case)
                shutil.rmtree(case.folder, ignore_errors=True)
                results.add(outcome)
                if arguments.verbose or outcome.kind in DEFECTS:
                    print(outcome, flush=True)
                if len(results.outcomes) % 100 == 0:
                    print(results.summary(numbers), flush=True)
    finally:
        for case in running:
            case.kill()


if __name__ == "__main__":
    main()

"""Resume test: kills training runs at random moments, resumes them, and compares the ends with uninterrupted runs.

    python benchmarks/soak_resume.py [--kills 200] [--seed 0] [--outputs outputs/soak] [--combinations NAME ...]

Each combination of an algorithm and a world is one uninterrupted run and as many others as its share of the kills
needs. Each process gets SIGKILL (half of the time), SIGTERM, SIGINT or SIGHUP after a random processor time, also
during start-up and while it saves; the load of the machine has no influence. The two ends must be equal bit for bit in
networks, targets, optimizers, loops, callbacks, random states, environments, open episodes, carried recurrent states,
counters, all kept episodes, metrics.csv and evaluations.csv.

Every kill and every comparison is a line of results.jsonl in --outputs as soon as it is known. The same command
continues a soak that was ended, if --frames, --seed and the commit are the same.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shlex
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "references"))
os.environ.update(OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="1", WANDB_MODE="disabled", MPLBACKEND="agg")

from fuzz_cases import import_everything, processor, start
from run_content import content, differences

from mipi_pl.storage.provenance import commit

WORLDS = {
    "sz": ["experiment=quickstart", "held_out.team_sizes=[6]"],
    "resource_collection": ["experiment=resource_collection", "held_out.team_sizes=[6]", "env.episode_limit=40"],
    "matrix_game": ["experiment=matrix_game"],
}
REPLAY = [
    "datamodule.capacity=60",
    "datamodule.warmup_episodes=8",
    "datamodule.batch_size=8",
    "datamodule.num_envs=4",
    "datamodule.updates_per_episode=1.0",
    "callbacks.target_update.every_episodes=20",
]
ON_POLICY = [
    "datamodule.num_envs=8",
    "datamodule.rollout_steps=16",  # episodes are longer, so recurrent states are carried from rollout to rollout
    "algorithm.critic.recurrent=true",
]
LEARNERS = {"mipi": REPLAY, "refil": REPLAY, "mipi_ppo": ON_POLICY, "mappo": ON_POLICY}
COMMON = [
    "callbacks.checkpointing.every_frames=400",
    "callbacks.generalization.every_frames=1500",
    "callbacks.generalization.episodes=4",
    "held_out.episodes=4",
    "datamodule.updates_per_epoch=8",
    "trainer.log_every_n_steps=5",
    "threads=1",
]
COMBINATIONS = [f"{learner}/{world}" for world in ("sz", "resource_collection") for learner in LEARNERS]
SIGNALS = [signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
EXPECTED = {0, 130, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP}
"""Exit codes of a process that got a signal; it may have ended before."""
EARLIEST, LATEST = 0.02, 0.35
"""Time of a signal, in processor times of the uninterrupted run."""


class Journal:
    """Lines of JSON, each written as soon as it is known."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def add(self, **row: Any) -> None:
        """Append a row and print it."""
        self.rows.append(row)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)

    def begin(self, **settings: Any) -> None:
        """Note the settings in the first row, or compare them with those of the soak that is continued.

        Raises:
            ValueError: if a setting is not that of the soak that is continued.
        """
        if not self.rows:
            self.add(event="begin", **settings)
            return
        known = self.rows[0] if self.rows[0]["event"] == "begin" else None
        if known is None:
            print(f"note: {self.path} has no settings, so they cannot be compared with {settings}", flush=True)
        elif different := [key for key in settings if known.get(key) != settings[key]]:
            texts = ", ".join(f"{key} {known.get(key)} and not {settings[key]}" for key in different)
            raise ValueError(f"{self.path} was begun with {texts}: name another folder with --outputs")

    def of(self, event: str, combination: str | None = None) -> list[dict[str, Any]]:
        """Return the rows of an event, of one combination or of all."""
        rows = (row for row in self.rows if row["event"] == event)
        return [row for row in rows if combination in (None, row["combination"])]


@dataclass
class Soak:
    """The kills of one combination.

    Attributes:
        combination: algorithm and world.
        frames: frames of each run.
        kills: number of processes that get a signal.
        seed: seed of the signals and their times.
        folder: folder of the runs.
        journal: where kills and comparisons are noted.
    """

    combination: str
    frames: int
    kills: int
    seed: int
    folder: Path
    journal: Journal

    def carry_out(self) -> None:
        """Train the uninterrupted run; kill, resume and compare others until there were enough kills."""
        whole, whole_s = self._uninterrupted()
        while (killed := len(self.journal.of("kill", self.combination))) < self.kills or self._is_open():
            root, run = self._broken(), self._folder_of(self._broken())
            if run is None or not (run / "checkpoints" / "index.json").exists():  # killed before its first checkpoint
                shutil.rmtree(root, ignore_errors=True)
                words = self._train(root)
            elif (run / "results.json").exists():
                self._compare(whole, run)
                continue
            else:
                words = ["resume", str(run)]
            self._kill(words, killed, whole_s)

    def _is_open(self) -> bool:
        """Return whether a run was killed, also before it had a folder, and no end was compared since."""
        events = [row["event"] for row in self.journal.rows if row.get("combination") == self.combination]
        return events[-1] == "kill"

    def _uninterrupted(self) -> tuple[Path, float]:
        root = self.folder / "whole"
        if not (known := self.journal.of("whole", self.combination)):
            shutil.rmtree(root, ignore_errors=True)
            used_s, _ = self._run(self._train(root))
            self.journal.add(event="whole", combination=self.combination, seconds=round(used_s, 1))
            known = self.journal.of("whole", self.combination)
        run = self._folder_of(root)
        assert run is not None
        return run, known[0]["seconds"]

    def _kill(self, words: list[str], killed: int, whole_s: float) -> None:
        # A run that ends before its signal counts as an end, and the next one gets another time.
        ended = len(self.journal.of("end", self.combination))
        draw = random.Random(f"{self.seed} {self.combination} {killed} {ended}")
        number, after_s = draw.choice(SIGNALS), draw.uniform(EARLIEST, LATEST) * whole_s
        if killed >= self.kills:
            self._run(words)
            return
        _, code = self._run(words, number, after_s)
        if code is not None:
            what = {"command": words[0], "signal": number.name, "after_s": round(after_s, 2), "code": code}
            self.journal.add(event="kill", combination=self.combination, **what)

    def _compare(self, whole: Path, run: Path) -> None:
        found = differences(content(whole), content(run))
        resumed_at = json.loads((run / "results.json").read_text())["resumed_at"]
        self.journal.add(event="end", combination=self.combination, resumed_at_updates=resumed_at, differences=found)
        if found:
            run.parents[1].rename(self.folder / f"different_{len(self.journal.of('end', self.combination))}")
        else:
            shutil.rmtree(run.parents[1])

    def _run(
        self, words: list[str], number: signal.Signals | None = None, after_s: float = 0.0
    ) -> tuple[float, int | None]:
        """Run a command and send it a signal after a processor time; None sends none.

        Returns:
            Its processor time, and its exit code if it got the signal.
        """
        folder = self.folder / "process"
        shutil.rmtree(folder, ignore_errors=True)
        child, sent = start(words, folder), False
        try:
            while True:
                ended, status, usage = os.wait4(child, os.WNOHANG)
                if ended:
                    break
                if not sent and number is not None and processor(child)[0] >= after_s:
                    os.kill(child, number)
                    sent = True
                time.sleep(0.005)
        finally:  # also if this script is interrupted
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(status)
        said = "".join((folder / name).read_text(errors="replace") for name in ("stdout", "stderr"))
        if "Traceback" in said or code not in (EXPECTED if sent else {0}):
            self.journal.add(event="failure", combination=self.combination, command=words, code=code, said=said[-3000:])
            sys.exit(f"exit code {code} of: mipi {shlex.join(words)}\n{said[-3000:]}")
        return usage.ru_utime + usage.ru_stime, code if sent else None

    def _broken(self) -> Path:
        return self.folder.absolute() / "broken"

    @staticmethod
    def _folder_of(root: Path) -> Path | None:
        return next(iter(sorted(root.absolute().glob("*__*/*"))), None)

    def _train(self, root: Path) -> list[str]:
        learner, world = self.combination.split("/")
        frames = f"total_frames={self.frames}"
        chosen = [*WORLDS[world], f"algorithm={learner}", *LEARNERS[learner], *COMMON, frames]
        return ["train", *chosen, f"output_dir={root.absolute()}"]


def main() -> None:
    """Carry out the kills of all combinations; exits with 1 if an end differs."""
    parser = argparse.ArgumentParser(description="Kill and resume runs, and compare their ends.")
    parser.add_argument("--kills", type=int, default=200, help="processes that get a signal, over all combinations")
    parser.add_argument("--frames", type=int, default=6000, help="frames of each run (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the signals and their times")
    parser.add_argument("--outputs", type=Path, default=Path("outputs/soak"), help="folder of the runs; continued")
    parser.add_argument(
        "--combinations", nargs="+", default=COMBINATIONS, metavar="NAME", help=f"default: {' '.join(COMBINATIONS)}"
    )
    arguments = parser.parse_args()
    for name in arguments.combinations:
        learner, _, world = name.partition("/")
        if learner not in LEARNERS or world not in WORLDS:
            parser.error(
                f"a combination is one of {', '.join(LEARNERS)}, a slash and one of {', '.join(WORLDS)}: {name}"
            )
    # A background job ignores SIGINT, and its children would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no process is left behind
    import_everything()
    arguments.outputs.mkdir(parents=True, exist_ok=True)
    journal = Journal(arguments.outputs / "results.jsonl")
    try:
        journal.begin(frames=arguments.frames, seed=arguments.seed, commit=commit())
    except ValueError as error:
        parser.error(str(error))
    for position, name in enumerate(arguments.combinations):
        share = (arguments.kills + position) // len(arguments.combinations)
        folder = arguments.outputs / name.replace("/", "_")
        Soak(name, arguments.frames, share, arguments.seed, folder, journal).carry_out()
    ends, kills = journal.of("end"), journal.of("kill")
    different = [row for row in ends if row["differences"]]
    counts = {number.name: sum(row["signal"] == number.name for row in kills) for number in set(SIGNALS)}
    print(f"{len(kills)} kills {counts}, {len(ends)} ends, {len(different)} of them different")
    sys.exit(bool(different))


if __name__ == "__main__":
    main()

"""Damages one file of a run, reads the run again, and judges whether the damage was refused, survived or silently used.

Used by tests/test_damage.py and, for a thousand files, by benchmarks/damage.py.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from crash import Crash, KilledError
from run_content import differences

from mipi_pl.cli import main
from mipi_pl.reporting.runs import Run, read_run
from mipi_pl.run.own_folder import open_run
from mipi_pl.storage.checkpoint_file import read_checkpoint
from mipi_pl.storage.checkpoints import CheckpointFolder
from mipi_pl.storage.files import DamagedError
from mipi_pl.utils.errors import UserError

RUN = [
    *("experiment=matrix_game", "debug=tiny", "total_frames=200", "datamodule.capacity=40", "algorithm.target=sampled"),
    *("datamodule.updates_per_episode=0.25", "datamodule.updates_per_epoch=8", "datamodule.steps_per_collection=2"),
    *("callbacks.checkpointing.every_frames=16", "callbacks.generalization.every_frames=60"),
    *("callbacks.target_update.every_episodes=10", "+callbacks.crash._target_=crash.Crash"),
    *("trainer.log_every_n_steps=2", "held_out.baselines=[]"),
]
REFUSED, SURVIVED = "refused", "survived"

WRONG_VALUES: tuple[Any, ...] = (None, [], {}, "", "x", -1, 3.5, True, [1, 2], {"a": 1}, "../../x", 10**30)


class SilentlyUsedError(AssertionError):
    """A damaged file was used without a message, or reading it ended in an exception from inside a library."""


@dataclass(frozen=True)
class Damage:
    """A damaged copy of one file.

    Attributes:
        kind: name of the kind of damage.
        file: the damaged file.
        content: its new content; None for a folder in its place.
    """

    kind: str
    file: Path
    content: bytes | None

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Damage the file, and restore it at the end."""
        before = self.file.read_bytes()
        self.file.unlink()  # other names of the file, such as last.ckpt, keep the old content
        try:
            if self.content is None:
                self.file.mkdir()
            else:
                self.file.write_bytes(self.content)
            yield
        finally:
            shutil.rmtree(self.file) if self.file.is_dir() else self.file.unlink(missing_ok=True)
            self.file.write_bytes(before)


def damages(files: list[Path], rng: random.Random) -> Iterator[Damage]:
    """Draw damages without end; the files take turns."""
    while True:
        for file in files:
            kinds = [flipped, flipped, truncated, zeroed, swapped, folder]
            if file.suffix in (".json", ".yaml", ".csv"):
                kinds += [wrong_value, wrong_value, repeated]
            kind = rng.choice(kinds)
            content = kind(file, files, rng)
            if content != file.read_bytes():
                yield Damage(kind.__name__, file, content)


def flipped(file: Path, _: list[Path], rng: random.Random) -> bytes:
    """One to eight flipped bits."""
    data = bytearray(file.read_bytes())
    for _ in range(rng.choice((1, 1, 8))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def truncated(file: Path, _: list[Path], rng: random.Random) -> bytes:
    """The beginning of the file."""
    data = file.read_bytes()
    return data[: rng.randrange(len(data))]


def zeroed(file: Path, _: list[Path], rng: random.Random) -> bytes:
    """A block of zeros, as after a power cut."""
    data = bytearray(file.read_bytes())
    length = min(len(data), rng.choice((16, 512, 4096)))
    start = rng.randrange(len(data) - length + 1)
    data[start : start + length] = bytes(length)
    return bytes(data)


def swapped(file: Path, files: list[Path], rng: random.Random) -> bytes:
    """The content of another file."""
    return rng.choice([other for other in files if other != file]).read_bytes()


def folder(file: Path, files: list[Path], rng: random.Random) -> None:
    """A folder in place of the file."""


def wrong_value(file: Path, _: list[Path], rng: random.Random) -> bytes:
    """A value of another type, at any depth."""
    if file.suffix == ".csv":
        cells = file.read_text(encoding="utf-8").split(",")
        cells[rng.randrange(len(cells))] = str(rng.choice(WRONG_VALUES))
        return ",".join(cells).encode()
    content = _parsed(file)
    places = list(_places(content))
    node, key = rng.choice(places)
    node[key] = rng.choice(WRONG_VALUES)
    return _dumped(file, content)


def repeated(file: Path, _: list[Path], rng: random.Random) -> bytes:
    """An entry of a list, or a line of a table, twice."""
    if file.suffix == ".csv":
        lines = file.read_text(encoding="utf-8").splitlines()
        return "\n".join([*lines, rng.choice(lines), ""]).encode()
    content = _parsed(file)
    lists = [node for node, key in _places(content) if isinstance(node, list) and key == 0]
    if not lists:
        return wrong_value(file, [], rng)
    chosen = rng.choice(lists)
    chosen.append(chosen[0])
    return _dumped(file, content)


def _parsed(file: Path) -> Any:
    text = file.read_text(encoding="utf-8")
    return json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)


def _dumped(file: Path, content: Any) -> bytes:
    return (json.dumps(content) if file.suffix == ".json" else yaml.safe_dump(content)).encode()


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in list(pairs):
        yield node, key
        yield from _places(child)


class Judge:
    """Reads an interrupted run, a finished run and a policy file, and compares them with their undamaged content.

    Args:
        stopped: folder of a run with at least two checkpoints and no results.
        finished: folder of a finished run.
        policy: exported policy.
        scratch: folder for exported files.
    """

    def __init__(self, stopped: Path, finished: Path, policy: Path, scratch: Path) -> None:
        self.stopped, self.finished, self.policy, self.scratch = stopped, finished, policy, scratch
        checkpoints = stopped / "checkpoints"
        self.run_files = [
            checkpoints / "index.json",
            *sorted(checkpoints.glob("update_*.ckpt")),
            checkpoints / "last.ckpt",
            *sorted(checkpoints.glob("replay/*.pt")),
            *(stopped / name for name in ("config.yaml", "metrics.csv", "evaluations.csv")),
        ]
        self.report_files = [finished / n for n in ("results.json", "config.yaml", "metrics.csv", "evaluations.csv")]
        for file in checkpoints.glob("*.ckpt"):  # a hard link would be damaged along with the other
            data = file.read_bytes()
            file.unlink()
            file.write_bytes(data)
        readable = [*checkpoints.glob("update_*.ckpt"), checkpoints / "last.ckpt", policy]
        self._known = {file: _content_of(file) for file in readable}
        self._report = read_run(finished)
        assert not self._report.problems

    @property
    def files(self) -> list[Path]:
        """All files that are damaged; the index and the policy are drawn as often as all checkpoints."""
        often = [self.run_files[0], self.policy]
        return [*self.run_files, *self.report_files, *often, *often]

    def judge(self, damage: Damage) -> str:
        """Returns `REFUSED` or `SURVIVED`.

        Raises:
            SilentlyUsedError: if it is neither.
        """
        with damage.applied():
            try:
                if damage.file in self.report_files:
                    return self._judge_report()
                verdict = self._judge_file(damage.file) if damage.file in self._known else SURVIVED
                if damage.file in self.run_files:
                    run_verdict = self._judge_run()
                    verdict = run_verdict if verdict == SURVIVED else verdict
                return verdict
            except SilentlyUsedError:
                raise
            except Exception as error:
                raise SilentlyUsedError(f"{damage.kind} {damage.file.name}: {type(error).__name__}: {error}") from error

    def _judge_file(self, file: Path) -> str:
        """Reads a checkpoint or policy as `mipi eval` does, and exports it."""
        code, message = self._export(file)
        try:
            content = _content_of(file)
        except UserError as error:
            if code != 2 or len(message.splitlines()) != 1:
                raise SilentlyUsedError(f"{file.name}: mipi export ended with {code}: {message}") from error
            return REFUSED
        _require_equal(content, self._known[file], file)
        return SURVIVED

    def _export(self, file: Path) -> tuple[int, str]:
        target = self.scratch / "exported.safetensors"
        target.unlink(missing_ok=True)
        stderr = io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(stderr):
            code = main(["export", str(file), "--output", str(target)])
        return code, stderr.getvalue()

    def _judge_run(self) -> str:
        """Chooses the checkpoint that `mipi resume` would use, and reads the run as `mipi runs` does."""
        said: list[str] = []
        read_run(self.stopped)
        try:
            checkpoint = CheckpointFolder(self.stopped).newest_whole(said.append)
            if checkpoint is None:
                return REFUSED
            content, _ = open_run(checkpoint)
        except (UserError, DamagedError):
            return REFUSED
        _require_equal(content, self._known[checkpoint], checkpoint)
        newest = max(file for file in self._known if file.name.startswith("update_"))
        if checkpoint != newest and not said:
            raise SilentlyUsedError(f"{checkpoint.name} is used instead of {newest.name}, without a message")
        return SURVIVED

    def _judge_report(self) -> str:
        run = read_run(self.finished)
        if run.problems:
            return REFUSED
        if _comparable(run) != _comparable(self._report):
            raise SilentlyUsedError("mipi runs reads other values, without a message")
        return SURVIVED


def base_runs(root: Path) -> tuple[Path, Path, Path]:
    """Train in `root`; returns the folder of a run killed after 30 updates, of the same run to its end, and its policy.

    The two runs are those of tests/test_resume.py.
    """
    for name, Crash.at in (("stopped", [30]), ("finished", [])):
        with contextlib.suppress(KilledError):
            assert main(["train", *RUN, f"output_dir={root / name}"]) == 0
    (stopped,), (finished,) = (root.glob(f"{name}/*__*/*") for name in ("stopped", "finished"))
    policy = root / "policy.safetensors"
    assert main(["export", str(finished / "checkpoints" / "last.ckpt"), "--output", str(policy)]) == 0
    return stopped, finished, policy


def resumed(stopped: Path, copy: Path, damage: Damage) -> bool:
    """Resume a copy of the damaged run; returns whether it was not refused."""
    shutil.rmtree(copy, ignore_errors=True)
    with damage.applied():
        shutil.copytree(stopped, copy)
    return main(["resume", str(copy)]) == 0


def _content_of(file: Path) -> dict[str, Any]:
    return read_checkpoint(file)[0]


def _require_equal(content: Any, known: Any, file: Path) -> None:
    try:
        found = differences(known, content)
    except ValueError as error:  # lists of different lengths
        found = [str(error)]
    if found:
        raise SilentlyUsedError(f"{file.name} is read with other content: {found[:3]}")


def _comparable(run: Run) -> Run:
    return replace(run, folder=Path())

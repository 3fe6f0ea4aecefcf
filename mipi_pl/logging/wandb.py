"""Weights & Biases logger: online or offline, with evaluations, videos and checkpoints, and resumable."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import wandb
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from mipi_pl import distributed
from mipi_pl.evaluation.worlds import TRAINING
from mipi_pl.logging.wandb_access import check_mode, has_key, rejected_key, silent_mode, why_offline
from mipi_pl.logging.wandb_artifacts import ALIASES, AT_ONCE, policy_artifact
from mipi_pl.storage import provenance, run_folder
from mipi_pl.storage.files import replacing
from mipi_pl.utils.errors import FailedError, UserError

MODES = ("auto", "online", "offline")
_MAX_NAME = 128
RUN_ID = "wandb_run_id.txt"
"""File in the run folder with the run's id in W&B, under which a resumed run continues."""


class ResumableWandbLogger(WandbLogger):
    """Logs curves against frames, tables of evaluations, videos, and policies.

    W&B's own step is the number of updates and never decreases, so a resumed run continues from its checkpoint. Only
    the first of several processes logs.

    Args:
        save_dir: the run folder.
        project: project in W&B.
        name: name of the run.
        entity: user or team; None for the default of the API key.
        group: group of runs that belong together, such as an experiment; None for no group.
        job_type: job type of the run in W&B.
        tags: tags of the run.
        mode: ``online``, ``offline``, or ``auto``. ``auto`` is offline if there is no API key or no network, and then
            prints one line with the reason and the command that sends the run later.
        checkpoints: whether to store policies as artifacts, see `mipi_pl.logging.wandb_artifacts`.

    Raises:
        ValueError: if `mode` or the environment variable WANDB_MODE is unknown, or `mode` is ``online`` without an API
            key or with one that W&B rejects.
    """

    def __init__(
        self,
        save_dir: str,
        project: str,
        name: str,
        entity: str | None = None,
        group: str | None = None,
        job_type: str = "train",
        tags: Sequence[str] = (),
        mode: str = "auto",
        checkpoints: bool = True,
    ) -> None:
        if mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
        check_mode()
        self._folder, self._mode, self._checkpoints, self._step = Path(save_dir), mode, checkpoints, 0
        self._defined: set[str] = set()
        self._sent: dict[str, float] = {}
        first = distributed.rank() == 0
        if first and wandb.run is not None:
            wandb.finish()  # an earlier run of this process, as in a multirun, would receive the metrics of this one
        sends = mode == "online" and silent_mode() is None
        if sends:
            if not distributed.on_first_rank(has_key):
                raise ValueError("mode=online needs a key: set WANDB_API_KEY or run `wandb login`, or use mode=offline")
            if problem := distributed.on_first_rank(rejected_key):
                raise ValueError(f"{problem}: set WANDB_API_KEY or run `wandb login --relogin`, or use mode=offline")
        reason = (why_offline() or rejected_key()) if first and not sends and mode != "offline" else None
        super().__init__(
            project=project,
            name=_short(name),
            save_dir=save_dir,
            id=self._known_id(),
            offline=mode == "offline" or reason is not None,
            entity=entity,
            group=_short(group) if group else None,
            job_type=job_type,
            tags=[*tags],
        )
        if reason:
            self._say_offline(reason)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The run in W&B, started at the first access."""
        if self._experiment is None:
            self._experiment = self._begin()
        return self._experiment

    def _begin(self) -> Any:
        os.environ.setdefault("WANDB_SILENT", "true")  # W&B's banner would hide the progress lines
        commit = (provenance.commit() or "").removesuffix("-dirty") or None  # of this program, not the current folder
        given = {key: value for key, value in self._wandb_init.items() if value is not None}
        options = {**given, "settings": wandb.Settings(git_commit=commit)}
        mode = "disabled" if os.environ.get("WANDB_MODE") == "disabled" else "offline" if self._offline else "online"
        try:
            run = wandb.init(**options, mode=mode)  # type: ignore[arg-type]
        except (wandb.Error, OSError) as error:
            if self._mode != "auto":
                raise UserError(
                    f"logger.wandb: {error}; logger.wandb.mode=offline logs without a connection"
                ) from error
            self._say_offline((str(error).splitlines() or [type(error).__name__])[0])
            run = wandb.init(**options, mode="offline")
        run.define_metric("frames")
        run.define_metric("*", step_metric="frames", step_sync=True)
        self._keep_id(run.id)
        return run

    def _keep_id(self, run_id: str) -> None:
        try:
            with replacing(self._folder / RUN_ID) as unfinished:
                unfinished.write_text(f"{run_id}\n", encoding="utf-8")
        except OSError as error:
            print(f"wandb: {RUN_ID} not written ({error}); if this run is resumed, W&B will show it as a new run")

    def _known_id(self) -> str | None:
        path = self._folder / RUN_ID
        return (path.read_text(encoding="utf-8").strip() or None) if path.is_file() else None

    def _say_offline(self, reason: str) -> None:
        where = run_folder.shown(self._folder / "wandb")
        print(f"wandb: {reason}, so this run is logged offline; send it with: wandb sync {where}/offline-run-*")

    # ------------------------------------------------------------------ logging

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log a row of metrics.

        Args:
            metrics: values by name. ``frames`` is the x axis of all curves; if it is missing, W&B uses the last one.
            step: number of updates; None for that of the previous row.
        """
        self._step = max(self._step, step or 0)
        for name in metrics.keys() - self._defined:
            self._defined.add(name)
            if "win_rate" in name and not name.endswith(("_low", "_high")):
                self.experiment.define_metric(name, step_metric="frames", step_sync=True, summary="max")
        self.experiment.log(dict(metrics), step=self._step)

    @rank_zero_only
    def log_evaluation(self, rows: Sequence[Mapping[str, Any]], frames: int, step: int) -> None:
        """Log a table of an evaluation and charts by team size and by composition.

        Args:
            rows: rows of one evaluation, as in evaluations.csv.
            frames: environment steps collected.
            step: number of updates.
        """
        columns = ["frames", *(key for key in rows[0] if key != "policy")]
        # A column has a single type, and the size can be a range such as 3-5, so sizes are strings.
        cells = [{**row, "frames": frames, "size": str(row["size"])} for row in rows]
        table = wandb.Table(columns=[*columns], data=[[row[column] for column in columns] for row in cells])
        score = "win_rate" if "win_rate" in rows[0] else "return"
        compositions = [[name, row[score]] for name, row in _by_composition(rows)]
        bars = wandb.Table(columns=["composition", score], data=compositions)
        charts = {
            f"by_size/{quantity}_{_size_name(row)}": row[quantity]
            for row in rows
            for quantity in ("win_rate", "return")
            if row["level"] == "size" and quantity in row
        }
        charts["evaluations"] = table
        charts["by_composition"] = wandb.plot.bar(bars, "composition", score, title=f"{score} by composition")
        self.log_metrics({**charts, "frames": frames}, step)

    @rank_zero_only
    def log_video(self, path: Path, step: int) -> None:  # type: ignore[override]
        """Log a video.

        Args:
            path: a GIF or MP4, which W&B copies; ``<frames>_<evaluation>`` is logged as ``video/<evaluation>``.
            step: number of updates.
        """
        frames, _, name = path.stem.partition("_")
        name = re.sub(r"-\d+$", "", name)  # the suffix that avoids overwriting an existing file
        self.log_metrics({f"video/{name or frames}": wandb.Video(str(path))}, step)

    @rank_zero_only
    def log_best(self, path: Path, score: float) -> None:
        """Store a checkpoint with a new best score, if it is the one on held-out teams.

        Args:
            path: the checkpoint, which a better one replaces later.
            score: the metric by which it is the best.
        """
        if path.name == AT_ONCE and self._checkpoints:
            self._store(path, {"score": score}, "mutable")

    def _store(self, path: Path, scores: Mapping[str, float], policy: Literal["mutable", "immutable"]) -> None:
        written_s = path.stat().st_mtime
        if self._sent.get(path.name) != written_s:
            artifact = policy_artifact(path, self.experiment.id, scores, policy)
            self.experiment.log_artifact(artifact, aliases=[ALIASES[path.name]])
            self._sent[path.name] = written_s

    @rank_zero_only
    def log_finished(self, scores: Mapping[str, float]) -> None:
        """Log the final scores as the run's summary, the picture, and the checkpoints as versions of one artifact.

        Args:
            scores: scores by name, of the greedy policy after the last update.
        """
        run = self.experiment
        if (picture := self._folder / "results.png").is_file():
            run.log({"results": wandb.Image(str(picture))}, step=self._step)
        run.summary.update({f"final/{name}": value for name, value in scores.items()})
        for file in ALIASES if self._checkpoints else ():
            path = self._folder / "checkpoints" / file
            if path.is_file():
                # The files of a finished run no longer change, so they need not be copied before they are sent.
                self._store(path, scores if file == "last.ckpt" else {}, "immutable")

    @rank_zero_only
    def close(self, succeeded: bool) -> None:
        """Finish the run in W&B; a run that did not succeed is marked as failed and continues when it is resumed."""
        if self._experiment is not None:
            self._experiment.finish(exit_code=0 if succeeded else 1)
            self._experiment = None


def _by_composition(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the rows of compositions with their names, which have the evaluation if several play the composition."""
    found = [row for row in rows if row["level"] == "composition"]
    played = Counter(row["composition"] for row in found)
    return [
        (row["composition"] if played[row["composition"]] == 1 else f"{row['composition']} ({row['evaluation']})", row)
        for row in found
    ]


def _short(name: str) -> str:
    """Return a name that W&B accepts: at most 128 characters; a longer one ends in a checksum of the rest."""
    name = name.strip()
    if len(name) <= _MAX_NAME:
        return name
    return f"{name[: _MAX_NAME - 9]}~{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _size_name(row: Mapping[str, Any]) -> str:
    plain = row["evaluation"] in (TRAINING, str(row["size"]))
    return str(row["size"]) if plain else f"{row['evaluation']}_{row['size']}"


def default_entity() -> str:
    """Return the user or team of the API key.

    Raises:
        FailedError: if W&B does not answer or does not know the key.
    """
    try:
        return str(wandb.Api().default_entity)
    except Exception as error:  # wandb raises exceptions of its own and of requests
        raise FailedError(f"W&B did not answer ({error}); name the user or team with --entity") from error

"""A run in Weights & Biases: where it goes, what is written beside the metrics, and how it goes on."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from mipi_pl import distributed
from mipi_pl.evaluation.worlds import TRAINING
from mipi_pl.logging.wandb_access import has_key, why_offline
from mipi_pl.storage import provenance, run_folder
from mipi_pl.storage.files import replacing
from mipi_pl.utils.errors import FailedError, UserError

MODES = ("auto", "online", "offline")
RUN_ID = "wandb_run_id.txt"
"""In the run folder: what a resumed run goes on under."""
ARTIFACTS = {"best-heldout.ckpt": "best-heldout", "best.ckpt": "best-training", "last.ckpt": "last"}
"""Checkpoints and their aliases; the last in this order is also W&B's ``latest``."""


class ResumableWandbLogger(WandbLogger):
    """Curves against frames, tables of the evaluations, videos, and the checkpoints of a finished run.

    W&B's own step is the number of updates and never falls, so that a resumed run goes on where its checkpoint was. Of
    several processes the first one alone logs.

    Args:
        save_dir: the run folder.
        project: of Weights & Biases.
        name: of the run.
        entity: user or team; None for that of the key.
        group: runs that belong together, such as an experiment; None for none.
        job_type: of the run.
        tags: of the run.
        mode: ``online``, ``offline``, or ``auto``: offline when there is no key or no network, with one line that says
            so and how to send the run later.
        checkpoints: whether those of a finished run are kept as artifacts, see `ARTIFACTS`.

    Raises:
        ValueError: for another mode, or if there is no key for ``online``.
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
        self._folder, self._mode, self._checkpoints, self._step = Path(save_dir), mode, checkpoints, 0
        first = distributed.rank() == 0
        if first and wandb.run is not None:
            wandb.finish()  # an earlier run of this process, as in a multirun; the new one would be written into it
        if mode == "online" and not distributed.by_first(has_key) and os.environ.get("WANDB_MODE") != "disabled":
            raise ValueError("mode=online needs a key: set WANDB_API_KEY or run `wandb login`, or take mode=offline")
        reason = why_offline() if mode == "auto" and first else None
        super().__init__(
            project=project,
            name=name,
            save_dir=save_dir,
            id=self._known_id(),
            offline=mode == "offline" or reason is not None,
            entity=entity,
            group=group,
            job_type=job_type,
            tags=[*tags],
        )
        if reason:
            self._say_offline(reason)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The run of W&B, begun when it is first asked for."""
        if self._experiment is None:
            self._experiment = self._begin()
        return self._experiment

    def _begin(self) -> Any:
        os.environ.setdefault("WANDB_SILENT", "true")  # its own banner would drown the progress lines
        commit = (provenance.commit() or "").removesuffix("-dirty") or None  # of the program, not of the working folder
        given = {key: value for key, value in self._wandb_init.items() if value is not None}
        options = {**given, "settings": wandb.Settings(git_commit=commit)}
        mode = "disabled" if os.environ.get("WANDB_MODE") == "disabled" else "offline" if self._offline else "online"
        try:
            run = wandb.init(**options, mode=mode)  # type: ignore[arg-type]
        except (wandb.Error, OSError) as error:
            if self._mode != "auto":
                raise UserError(f"logger.wandb: {error}; logger.wandb.mode=offline needs no connection") from error
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
            print(f"wandb: {RUN_ID} not written ({error}); if this run is resumed, it will be a new one of W&B")

    def _known_id(self) -> str | None:
        path = self._folder / RUN_ID
        return (path.read_text(encoding="utf-8").strip() or None) if path.is_file() else None

    def _say_offline(self, reason: str) -> None:
        where = run_folder.shown(self._folder / "wandb")
        print(f"wandb: {reason}, so this run is logged offline; send it with: wandb sync {where}/offline-run-*")

    # ------------------------------------------------------------------ what is logged

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """A row.

        Args:
            metrics: by name; ``frames`` among them is what curves are drawn against, else the last one is.
            step: updates; None for those of the row before.
        """
        self._step = max(self._step, step or 0)
        self.experiment.log(dict(metrics), step=self._step)

    @rank_zero_only
    def log_evaluation(self, rows: Sequence[Mapping[str, Any]], frames: int, step: int) -> None:
        """Table and charts by team size and by composition.

        Args:
            rows: as in evaluations.csv, of one evaluation.
            frames: environment steps collected.
            step: updates.
        """
        columns = ["frames", *(key for key in rows[0] if key != "policy")]
        # A column has one type, and the size of a whole evaluation is a range such as 3-5.
        cells = [{**row, "frames": frames, "size": str(row["size"])} for row in rows]
        table = wandb.Table(columns=[*columns], data=[[row[column] for column in columns] for row in cells])
        score = "win_rate" if "win_rate" in rows[0] else "return"
        compositions = [[row["composition"], row[score]] for row in rows if row["level"] == "composition"]
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
        """A battle.

        Args:
            path: a GIF or MP4, which is copied: ``<frames>_<evaluation>`` is called ``video/<evaluation>``.
            step: updates.
        """
        frames, _, name = path.stem.partition("_")
        name = re.sub(r"-\d+$", "", name)  # of a file whose name was taken
        self.log_metrics({f"video/{name or frames}": wandb.Video(str(path))}, step)

    @rank_zero_only
    def log_finished(self, scores: Mapping[str, float]) -> None:
        """What remains of a run: its final scores as summary, the picture, the checkpoints as versions of one artifact.

        Args:
            scores: by name, of the greedy policy of the last update.
        """
        run = self.experiment
        run.log({"results": wandb.Image(str(self._folder / "results.png"))}, step=self._step)
        run.summary.update({f"final/{name}": value for name, value in scores.items()})
        for file, alias in ARTIFACTS.items() if self._checkpoints else ():
            path = self._folder / "checkpoints" / file
            if path.is_file():
                artifact = wandb.Artifact(f"policy-{run.id}", type="model", metadata={"file": file, **scores})
                # A finished run changes no more, so the file need not be copied before it is sent.
                artifact.add_file(str(path), name="policy.ckpt", policy="immutable")
                run.log_artifact(artifact, aliases=[alias])

    @rank_zero_only
    def close(self, succeeded: bool) -> None:
        """Write what is left; a run that did not succeed is marked so and goes on when it is resumed."""
        if self._experiment is not None:
            self._experiment.finish(exit_code=0 if succeeded else 1)
            self._experiment = None


def _size_name(row: Mapping[str, Any]) -> str:
    plain = row["evaluation"] in (TRAINING, str(row["size"]))
    return str(row["size"]) if plain else f"{row['evaluation']}_{row['size']}"


def default_entity() -> str:
    """User or team of the key.

    Raises:
        FailedError: if W&B does not answer or does not know the key.
    """
    try:
        return str(wandb.Api().default_entity)
    except Exception as error:  # of many kinds: requests' and wandb's own
        raise FailedError(f"W&B did not answer ({error}); --entity names the user or team without asking") from error

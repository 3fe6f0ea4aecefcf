"""Times of a run."""

from __future__ import annotations

import time
from pathlib import Path

from lightning import LightningModule, Trainer

from mipi_pl.run.state import RunState


def test_processor_time_is_that_of_the_run_and_not_of_its_process(tmp_path: Path) -> None:
    """A multirun trains one run after the other in one process."""
    first = RunState({}, tmp_path)
    start_s = time.process_time()
    while time.process_time() < start_s + 0.2:
        pass
    second = RunState({}, tmp_path)
    assert first.processor_seconds() >= 0.2 > second.processor_seconds()


def test_training_seconds_are_those_of_training_alone(tmp_path: Path) -> None:
    """The evaluations before training count for the whole run only, also after a resumption."""
    trainer, module = Trainer(logger=False, enable_checkpointing=False), LightningModule()
    state = RunState({}, tmp_path)
    time.sleep(0.1)
    assert state.training_seconds() == 0
    state.seconds, state.seconds_training = 100.0, 60.0
    state.on_train_start(trainer, module)
    time.sleep(0.1)
    assert 60.1 <= state.training_seconds() < 70

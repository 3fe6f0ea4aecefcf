from __future__ import annotations

import time
from pathlib import Path

from mipi_pl.run.state import RunState


def test_processor_time_is_that_of_the_run_and_not_of_its_process(tmp_path: Path) -> None:
    """A multirun trains one run after the other in one process."""
    first = RunState({}, tmp_path)
    start_s = time.process_time()
    while time.process_time() < start_s + 0.2:
        pass
    second = RunState({}, tmp_path)
    assert first.processor_seconds() >= 0.2 > second.processor_seconds()

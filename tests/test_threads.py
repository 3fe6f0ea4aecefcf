"""The number of processor threads is the requested one, although numba's threads change OpenMP's number."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from mipi_pl.utils.threads import set_threads

# In a process of its own: numba starts its threads once.
COUNT = """
import numba, torch
from mipi_pl.utils.threads import set_threads
from mipi_pl.models.trunk import Recurrence
from mipi_pl.models.packing import PackedSteps
set_threads({threads})
steps = PackedSteps.from_mask(torch.ones(1, 2, dtype=torch.bool))
Recurrence(16, 16)(torch.zeros(2, 1, 16), steps.agents(1), steps, None)  # runs a kernel
print(torch.get_num_threads(), numba.get_num_threads())
"""


@pytest.mark.parametrize("threads", [None, 1])
def test_a_kernel_leaves_the_number_of_threads_as_it_was_asked_for(threads: int | None) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "2"}
    command = [sys.executable, "-c", COUNT.format(threads=threads)]
    found = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert found.stdout.split() == ["1", "1"]


def test_without_a_number_the_threads_are_those_before_another_one_was_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr("mipi_pl.utils.threads._numbers", {})
    try:
        set_threads(before + 1)
        set_threads(None)
        assert torch.get_num_threads() == before
        torch.set_num_threads(before + 2)  # by the user
        set_threads(None)
        assert torch.get_num_threads() == before + 2
    finally:
        torch.set_num_threads(before)
        set_threads(None)

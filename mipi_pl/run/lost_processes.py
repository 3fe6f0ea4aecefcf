"""Detection of lost processes of a run: a process that was killed, or that was stopped and no longer answers.

Gloo notices a closed connection at once, but waits half an hour for a process that is stopped, and names neither.
Each process therefore counts upwards in the store of the process group and watches the counts of the others.
"""

from __future__ import annotations

import atexit
import itertools
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple, Protocol

import torch.distributed as dist

from mipi_pl import distributed
from mipi_pl.storage import run_folder
from mipi_pl.utils.errors import FailedError

BEAT_S = 1.0
"""Seconds between two signs of life."""
GRACE_S = 20.0
"""Seconds in which a process may end in an orderly way after another one is lost."""


class Place(NamedTuple):
    """Where a process runs.

    Attributes:
        host: name of the machine, for messages.
        pid: process id.
        machine: identifies the machine since its last start and the container, in which process ids are unique.
    """

    host: str
    pid: int
    machine: str = ""

    @classmethod
    def here(cls) -> Place:
        """Return the place of this process."""
        try:
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
            machine = f"{boot} {os.readlink('/proc/self/ns/pid')}"
        except OSError:  # a system without /proc
            machine = socket.gethostname()
        return cls(socket.gethostname(), os.getpid(), machine)


class Counters(Protocol):
    """Counters that all processes share, such as `torch.distributed.TCPStore`."""

    def add(self, key: str, amount: int) -> int:
        """Add to a counter, which begins at 0, and return its value."""
        ...


class Peers:
    """Watches the other processes of a run in two threads, until the process ends.

    Args:
        counters: shared counters.
        rank: number of this process.
        places: where each process runs, by rank.
        lost_after_s: seconds without a sign of life after which a process counts as lost.
        end: ends this process; called `GRACE_S` after another process was lost.
        run: number of this run among those of the same processes, which share the counters.

    Attributes:
        lost: rank of the first lost process; None while none is lost.
        loss: one line about it.
    """

    def __init__(
        self,
        counters: Counters,
        rank: int,
        places: list[Place],
        lost_after_s: float,
        end: Callable[[], None] = lambda: os._exit(1),
        run: int = 0,
    ) -> None:
        self._counters, self._rank, self._places, self._end = counters, rank, places, end
        self._keys = f"mipi/{run}"
        self._limit = max(1, round(lost_after_s / BEAT_S))
        self._lost_after_s = lost_after_s
        self._silent = {other: 0 for other in range(len(places)) if other != rank}  # beats without a sign of life
        self._rounds = 0
        self._closed = threading.Event()
        self.lost: int | None = None
        self.loss: str | None = None
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._beat, self._watch)]

    def start(self) -> None:
        """Start watching."""
        for thread in self._threads:
            thread.start()
        atexit.register(self.close)

    def close(self) -> None:
        """Tell the other processes that this one ends, and stop watching."""
        atexit.unregister(self.close)
        self._closed.set()
        for thread in self._threads:
            thread.join(2 * BEAT_S)
        if not self._threads[0].is_alive():  # else the store does not answer
            with suppress(RuntimeError):
                self._counters.add(f"{self._keys}/ended/{self._rank}", 1)

    def _beat(self) -> None:
        """Exchange signs of life until this process ends, or the first process, which holds the counters, is gone."""
        seen = dict.fromkeys(self._silent, 0)
        try:
            while not self._closed.wait(BEAT_S):
                self._counters.add(f"{self._keys}/alive/{self._rank}", 1)
                for other in list(seen):
                    count = self._counters.add(f"{self._keys}/alive/{other}", 0)
                    ended = self._counters.add(f"{self._keys}/ended/{other}", 0)
                    self._silent[other] = 0 if ended or count != seen[other] else self._silent[other] + 1
                    seen[other] = count
                    if not ended and other in self._children() and not is_running(self._places[other].pid):
                        self._lose(other, "was killed")
                self._rounds += 1
        except RuntimeError:  # the connection is closed; the next collective operation fails
            self._closed.set()

    def _children(self) -> list[int]:
        """Return the processes on this host, if this is the first process, whose own end always comes later."""
        here = self._places[self._rank].machine
        return [r for r, place in enumerate(self._places) if r and place.machine == here] if self._rank == 0 else []

    def _watch(self) -> None:
        """Count beats instead of seconds, so that a run whose processes are all stopped and continued goes on."""
        rounds, unanswered = 0, 0
        while not self._closed.wait(BEAT_S):
            unanswered = unanswered + 1 if self._rounds == rounds else 0
            rounds = self._rounds
            silent = [other for other, beats in self._silent.items() if beats >= self._limit]
            if unanswered >= self._limit:
                silent = [0]
            if silent:
                self._lose(silent[0], f"has not answered for {self._lost_after_s:g} s")

    def _lose(self, other: int, what: str) -> None:
        if self._closed.is_set() or self.loss is not None:
            return
        self._note(other, what)
        self._closed.set()
        if self.reports:
            print(f"mipi: {self.loss}; ending the other processes", file=sys.stderr, flush=True)
        if other in self._children():  # a stopped process would stay forever; its end also frees the others
            with suppress(OSError):
                os.kill(self._places[other].pid, signal.SIGKILL)
        time.sleep(GRACE_S)
        self._end()

    def _note(self, other: int, what: str) -> None:
        place, here = self._places[other], self._places[self._rank].machine
        name = f"pid {place.pid}" if place.machine == here else f"pid {place.pid} on {place.host}"
        self.lost, self.loss = other, f"process {other} of this run ({name}) {what}"

    @property
    def reports(self) -> bool:
        """Whether this process prints the line about the lost one: the first of those that are left does."""
        return self._rank == min(rank for rank in range(len(self._places)) if rank != self.lost)

    def find_loss(self) -> str | None:
        """Return one line about a lost process after a collective operation has failed, or None if none is known."""
        here = self._places[self._rank].machine
        deadline_s = time.monotonic() + 3 * BEAT_S
        while self.loss is None and time.monotonic() < deadline_s:
            for other, place in enumerate(self._places):
                if other != self._rank and place.machine == here and not is_running(place.pid):
                    self._note(other, "has ended")
                    break
            time.sleep(0.1)
        return self.loss


def is_running(pid: int) -> bool:
    """Return whether a process of this machine exists and has not ended; a stopped process exists."""
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
    except ProcessLookupError:
        return False
    except (OSError, IndexError):  # not permitted to signal it, or a system without /proc
        return True
    return state not in "ZX"


_current: list[Peers] = []
_runs = itertools.count()


def watch(lost_after_s: float) -> None:
    """Start watching the other processes of this run, if there are any; an earlier run of this process is over.

    Every process calls it equally often.
    """
    while _current:
        _current.pop().close()
    if distributed.size() == 1:
        return
    places = distributed.gather(Place.here())
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    patience = timedelta(seconds=max(60.0, 2 * lost_after_s))
    store = dist.TCPStore(address, port, is_master=False, timeout=patience)  # type: ignore[attr-defined]
    peers = Peers(store, distributed.rank(), places, lost_after_s, run=next(_runs))
    peers.start()
    _current.append(peers)


@contextmanager
def losses_named(folder: Path) -> Iterator[None]:
    """Turn the error of a collective operation that fails because a process is lost into one line about that process.

    Args:
        folder: run folder.

    Raises:
        FailedError: instead of the error.
    """
    try:
        yield
    except RuntimeError as error:
        if not distributed.is_lost(error):
            raise
        peers = _current[-1] if _current else None
        loss = peers.find_loss() if peers else None
        raise FailedError(
            f"{loss or 'another process of this run has ended and prints the reason itself'}; resume from the last "
            f"checkpoint with: mipi resume {run_folder.shown(folder)}",
            reported_by_any_process=peers is not None and peers.lost == 0 and peers.reports,
        ) from error

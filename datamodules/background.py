"""One piece of work at a time in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import numba

Result = TypeVar("Result")


class Background(Generic[Result]):
    """Runs a function beside the main thread, which alone decides when, and when to wait for it.

    Whoever changes what the function reads or writes calls `wait` first: there are no locks.

    Attributes:
        closing: what the function does is no longer wanted; it may end early.

    Raises:
        ValueError: from `start`, if numba's threads cannot be used by two threads at once.
    """

    def __init__(self) -> None:
        self.closing = False
        self._thread: ThreadPoolExecutor | None = None
        self._work: Future[Result] | None = None

    def start(self, work: Callable[[], Result]) -> None:
        """Begin; what was begun before has been waited for."""
        assert self._work is None
        if self._thread is None:
            _refuse_unsafe_threads()
            # numba counts threads for each Python thread; PyTorch for the process.
            self._thread = ThreadPoolExecutor(1, "collection", numba.set_num_threads, (numba.get_num_threads(),))
        self._work = self._thread.submit(work)

    def wait(self) -> Result | None:
        """What the work gave, once it is done; None if there is none.

        Raises:
            Exception: what the work raised.
        """
        work, self._work = self._work, None
        return None if work is None else work.result()

    def close(self) -> None:
        """End the thread, after its work; what that gave or raised is dropped."""
        self.closing = True
        thread, self._thread, self._work = self._thread, None, None
        if thread is not None:
            thread.shutdown()


def _refuse_unsafe_threads() -> None:
    try:
        layer = numba.threading_layer()  # type: ignore[attr-defined]
    except ValueError:  # no kernel has run yet, as with fused=false
        return
    if layer == "workqueue":
        raise ValueError(
            "datamodule.overlap needs numba's threads to be safe, and only its layer 'workqueue' was found: install "
            "OpenMP or TBB (see docs/collection.md), or set fused=false or datamodule.overlap=false"
        )

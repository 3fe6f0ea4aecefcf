"""A worker thread that runs one function at a time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import numba

from mipi_pl.utils.errors import UserError

Result = TypeVar("Result")


class Background(Generic[Result]):
    """Runs a function in a second thread; the main thread starts it and waits for it.

    There are no locks: call `wait` before changing anything that the function reads or writes.

    Attributes:
        closing: whether `close` was called; the running function may then return early.

    Raises:
        UserError: from `start`, if numba's threading layer does not support two threads at once.
    """

    def __init__(self) -> None:
        self.closing = False
        self._thread: ThreadPoolExecutor | None = None
        self._work: Future[Result] | None = None

    def start(self, work: Callable[[], Result]) -> None:
        """Start `work`; the previous work must have been waited for."""
        assert self._work is None
        if self._thread is None:
            _refuse_unsafe_threads()
            # numba's thread count is set per Python thread; PyTorch's is set per process.
            self._thread = ThreadPoolExecutor(1, "collection", numba.set_num_threads, (numba.get_num_threads(),))
        self._work = self._thread.submit(work)

    def wait(self) -> Result | None:
        """Wait for the running work and return its result; None if no work was started.

        Raises:
            Exception: any exception that the work raised.
        """
        work, self._work = self._work, None
        return None if work is None else work.result()

    def close(self) -> None:
        """Wait for the running work, end the thread, and discard the result or exception."""
        self.closing = True
        thread, self._thread, self._work = self._thread, None, None
        if thread is not None:
            thread.shutdown()


def _refuse_unsafe_threads() -> None:
    try:
        layer = numba.threading_layer()  # type: ignore[attr-defined]
    except ValueError:  # no kernel has run yet, for example with fused=false
        return
    if layer == "workqueue":
        raise UserError(
            "datamodule.overlap needs a thread-safe numba threading layer, but numba uses 'workqueue': install OpenMP "
            "or TBB (see docs/collection.md), or set fused=false or datamodule.overlap=false"
        )

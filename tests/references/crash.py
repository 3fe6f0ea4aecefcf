"""A callback that ends the process's training as abruptly as a kill does: no other callback gets to save."""

from __future__ import annotations

from typing import Any

from lightning import Callback


class Killed(Exception):
    """As if the process were gone."""


class Crash(Callback):
    """Dies after the updates in `at`, once each.

    Args:
        **_: nothing; the class attribute is set by the test, so that a resumed run does not die again.
    """

    at: list[int] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any, **__: Any) -> None:
        if self.at and pl_module.updates >= self.at[0]:
            Crash.at = self.at[1:]
            raise Killed

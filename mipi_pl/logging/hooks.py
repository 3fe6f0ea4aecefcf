"""Optional logger methods in addition to Lightning's, and loggers whose failures do not end training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar

from lightning.pytorch.loggers import CSVLogger, Logger

AnyLogger = TypeVar("AnyLogger", bound=Logger)

HOOKS = ("log_evaluation", "log_video", "log_best", "log_finished", "close")
"""Methods that a logger may have in addition to Lightning's: see `mipi_pl.logging.wandb.ResumableWandbLogger`."""


def call_hook(loggers: Iterable[Logger], hook: str, *arguments: Any) -> None:
    """Call one of `HOOKS` on every logger that has it."""
    for logger in loggers:
        if hasattr(logger, hook):
            getattr(logger, hook)(*arguments)


@contextmanager
def closing(loggers: Sequence[Logger]) -> Iterator[None]:
    """Close the loggers when the block ends, with or without an exception."""
    succeeded = False
    try:
        yield
        succeeded = True
    finally:
        call_hook(loggers, "close", succeeded)


def never_fatal(logger: AnyLogger, name: str, say: Callable[[str], None] = print) -> AnyLogger:
    """Return the same logger, changed so that its exceptions do not end training.

    The first failure is reported, later ones are not; every call is tried again.

    Args:
        logger: any Lightning logger.
        name: name of the logger in the message.
        say: prints a message to the user.
    """
    reported: list[str] = []

    def caught(method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def call(*arguments: Any, **options: Any) -> Any:
            try:
                return method(*arguments, **options)
            except Exception as error:  # of any kind, because a logging failure does not affect learning
                if not reported:
                    reported.append(name)
                    kept = "; its rows are kept until it works again" if isinstance(logger, CSVLogger) else ""
                    say(f"logger {name} failed ({type(error).__name__}: {error}); training goes on{kept}")
                return None

        return call

    for method in ("log_metrics", "log_hyperparams", "log_graph", "save", "finalize", *HOOKS):
        if hasattr(logger, method):
            setattr(logger, method, caught(getattr(logger, method)))
    return logger

"""What every logger may do besides Lightning's methods, and loggers whose failure does not end training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar

from lightning.pytorch.loggers import CSVLogger, Logger

AnyLogger = TypeVar("AnyLogger", bound=Logger)

HOOKS = ("log_evaluation", "log_video", "log_finished", "close")
"""Methods that a logger may have besides Lightning's: see `mipi_pl.logging.wandb.ResumableWandbLogger`."""


def tell(loggers: Iterable[Logger], hook: str, *arguments: Any) -> None:
    """Call one of `HOOKS` of every logger that has it."""
    for logger in loggers:
        if hasattr(logger, hook):
            getattr(logger, hook)(*arguments)


@contextmanager
def closing(loggers: Sequence[Logger]) -> Iterator[None]:
    """Close them at the end, however that comes."""
    succeeded = False
    try:
        yield
        succeeded = True
    finally:
        tell(loggers, "close", succeeded)


def going_on(logger: AnyLogger, name: str, say: Callable[[str], None] = print) -> AnyLogger:
    """The same logger, which does not end training when it fails: that is said once, and tried again at each row.

    Args:
        logger: any of Lightning's.
        name: for the message.
        say: what the user is told goes here.
    """
    told: list[str] = []

    def caught(method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def call(*arguments: Any, **options: Any) -> Any:
            try:
                return method(*arguments, **options)
            except Exception as error:  # whatever a library of somebody else raises, it is not about learning
                if not told:
                    told.append(name)
                    kept = "; its rows are kept until it works again" if isinstance(logger, CSVLogger) else ""
                    say(f"logger {name} failed ({type(error).__name__}: {error}); training goes on{kept}")
                return None

        return call

    for method in ("log_metrics", "log_hyperparams", "log_graph", "save", "finalize", *HOOKS):
        if hasattr(logger, method):
            setattr(logger, method, caught(getattr(logger, method)))
    return logger

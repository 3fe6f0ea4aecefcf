"""The commands of `mipi`, one module each."""

COMMANDS = (
    "train",
    "resume",
    "eval",
    "watch",
    "export",
    "runs",
    "report",
    "reproduce",
    "compositions",
    "check-env",
    "theory",
    "dashboard",
    "doctor",
    "completion",
)
"""Commands in the order of `mipi --help`."""


def module_of(command: str) -> str:
    """Return the name of the module of a command."""
    return f"mipi_pl.commands.{command.replace('-', '_')}"

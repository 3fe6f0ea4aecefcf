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

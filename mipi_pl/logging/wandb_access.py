"""Checks for a Weights & Biases API key and a reachable server; only the check of the key imports its package."""

from __future__ import annotations

import netrc
import os
import socket
from pathlib import Path
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

from mipi_pl.utils.errors import first_line

_TIMEOUT_S = 3
_MODES = ("online", "offline", "disabled", "dryrun", "run", "shared")
"""Values of WANDB_MODE that W&B knows."""
_SILENT = ("disabled", "offline", "dryrun")
"""Those with which nothing is sent."""


def check_mode() -> None:
    """Check the environment variable WANDB_MODE.

    Raises:
        ValueError: if W&B does not know its value.
    """
    mode = os.environ.get("WANDB_MODE") or "online"
    if mode not in _MODES:
        raise ValueError(f"the environment variable WANDB_MODE must be one of {', '.join(_MODES[:3])}, got {mode!r}")


def silent_mode() -> str | None:
    """Return the value of WANDB_MODE if nothing may be sent with it, else None."""
    mode = os.environ.get("WANDB_MODE")
    return mode if mode in _SILENT else None


def why_offline() -> str | None:
    """Return why a run must be logged offline, or None if nothing prevents logging it online."""
    if mode := silent_mode():
        return None if mode == "disabled" else f"WANDB_MODE is {mode}"
    if not has_key():
        return "no key (set WANDB_API_KEY or run `wandb login`)"
    try:
        socket.create_connection(_endpoint(), timeout=_TIMEOUT_S).close()
    except OSError:
        return f"{_server().netloc} cannot be reached"
    return None


def has_key() -> bool:
    """Return whether WANDB_API_KEY or the netrc file holds a key for the server."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    path = Path(os.environ.get("NETRC") or "~/.netrc").expanduser()
    try:
        return netrc.netrc(path).authenticators(_server().hostname or "") is not None
    except (OSError, ValueError, netrc.NetrcParseError):
        return False


def rejected_key() -> str | None:
    """Return why the server does not accept the API key, or None if it does or nothing will be sent to it."""
    if silent_mode() is not None:
        return None
    os.environ.setdefault("WANDB_SILENT", "true")  # W&B would print where it found the key
    import wandb

    try:
        wandb.login(verify=True)
    except (wandb.Error, OSError, ValueError) as error:
        return f"the W&B key cannot be used ({first_line(error)})"
    return None


def _server() -> SplitResult:
    return urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai")


def _endpoint() -> tuple[str, int]:
    """Return the host and port to connect to: those of the proxy if one is configured, else of the server."""
    server = _server()
    host = server.hostname or ""
    proxy = None if proxy_bypass(host) else getproxies().get(server.scheme)
    endpoint = urlsplit(proxy if "//" in proxy else f"//{proxy}") if proxy else server
    return endpoint.hostname or "", endpoint.port or (443 if endpoint.scheme == "https" else 80)

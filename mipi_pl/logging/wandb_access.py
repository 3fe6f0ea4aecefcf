"""Whether Weights & Biases can be used from here: a key, and a server that answers. Asks nothing of its package."""

from __future__ import annotations

import netrc
import os
import socket
from pathlib import Path
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

_TIMEOUT_S = 3


def why_offline() -> str | None:
    """Why a run had better be logged offline; None if it may be sent."""
    mode = os.environ.get("WANDB_MODE")
    if mode == "disabled":
        return None
    if mode in ("offline", "dryrun"):
        return f"WANDB_MODE is {mode}"
    if not has_key():
        return "no key (set WANDB_API_KEY or run `wandb login`)"
    try:
        socket.create_connection(_door(), timeout=_TIMEOUT_S).close()
    except OSError:
        return f"{_server().netloc} cannot be reached"
    return None


def has_key() -> bool:
    """Whether this user has a key for the server."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    names = Path(os.environ.get("NETRC") or "~/.netrc").expanduser()
    try:
        return netrc.netrc(names).authenticators(_server().hostname or "") is not None
    except (OSError, ValueError, netrc.NetrcParseError):
        return False


def _server() -> SplitResult:
    return urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai")


def _door() -> tuple[str, int]:
    """Host and port to knock at: those of the proxy where one stands before the server."""
    server = _server()
    host = server.hostname or ""
    proxy = None if proxy_bypass(host) else getproxies().get(server.scheme)
    door = urlsplit(proxy if "//" in proxy else f"//{proxy}") if proxy else server
    return door.hostname or "", door.port or (443 if door.scheme == "https" else 80)

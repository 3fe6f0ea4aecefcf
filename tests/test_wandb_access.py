"""Lookup of the API key, and checks that the W&B server is reachable, also self-hosted and behind a proxy."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from mipi_pl.logging.wandb_access import has_key, why_offline


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine's user."""
    names = ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "NETRC")
    proxies = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
    for name in (*names, *proxies, *map(str.upper, proxies)):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def port() -> Iterator[int]:
    """Of something that takes connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_server_of_ones_own_is_asked_at_its_own_port(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")
    assert why_offline() is None
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:1")
    assert why_offline() == "127.0.0.1:1 cannot be reached"


def test_behind_a_proxy_the_proxy_is_asked(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "https://nowhere.invalid")
    assert why_offline() == "nowhere.invalid cannot be reached"
    for proxy in (f"http://127.0.0.1:{port}", f"127.0.0.1:{port}"):
        monkeypatch.setenv("https_proxy", proxy)
        assert why_offline() is None


def test_a_key_is_found_in_any_netrc_and_for_its_server_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (why_offline() or "").startswith("no key")
    line = f"machine api.wandb.ai login user password {'x' * 40}\n"
    (tmp_path / ".netrc").write_text(line)
    (tmp_path / ".netrc").chmod(0o600)
    assert has_key()
    monkeypatch.setenv("WANDB_BASE_URL", "http://localhost:8080")
    assert not has_key()
    (tmp_path / "elsewhere").write_text(line.replace("api.wandb.ai", "localhost"))
    monkeypatch.setenv("NETRC", str(tmp_path / "elsewhere"))
    assert has_key()
    (tmp_path / "elsewhere").write_text("no netrc at all")
    assert not has_key()

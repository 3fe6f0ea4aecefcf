"""Shape checks, imports of the plain references, rewriting of golden files, and a small finished run for all tests."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from jaxtyping import config, install_import_hook

# Before anything imports them. Only networks, losses and batches: the hook and numba do not go together.
_TESTS = Path(__file__).parent
_NETWORKS = sorted((_TESTS.parent / "models").glob("*.py"))
_CHECKED = [f"mipi_pl.models.{path.stem}" for path in _NETWORKS if path.stem != "__init__"]
install_import_hook([*_CHECKED, "mipi_pl.losses", "mipi_pl.algorithms.batch"], "beartype.beartype")

sys.path.insert(0, str(_TESTS / "references"))

import read_once  # noqa: E402

read_once.install()

# They run longer than all others and come first, so that no worker runs one of them alone at the end.
LONGEST = [
    *("test_two_processes", "test_soak", "test_resume", "test_configs", "test_protocols", "test_documented_commands"),
    *("test_faults", "test_learner_against_exact", "test_workers", "test_training_run", "test_config_errors"),
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files; `make test` keeps this order (``--no-loadscope-reorder``)."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(LONGEST)))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--golden-update", action="store_true", help="rewrite the golden files")


def pytest_collection_finish() -> None:
    """Leave what importing and collecting made out of garbage collection, which took a tenth of the tests' time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def _shapes_are_checked(request: pytest.FixtureRequest) -> None:
    """Not where whole runs are trained, which would take a fifth longer; the other tests check the shapes."""
    trains = request.path.stem in ("test_training_run", "test_learner_against_exact")
    trains |= request.path.parent in (_TESTS, _TESTS / "run", _TESTS / "callbacks", _TESTS / "reproduction")
    config.update("jaxtyping_disable", trains)


@pytest.fixture
def no_crash_is_left() -> Iterator[None]:
    """`crash.Crash` does nothing unless this test says so; for files whose runs are killed."""
    from crash import Crash  # after the hook above

    Crash.at = []
    yield
    Crash.at = []


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny run on the matrix game; read it, do not change it."""
    from mipi_pl.cli import main  # after the hook above

    root = tmp_path_factory.mktemp("runs")
    assert main(["train", "experiment=matrix_game", "debug=tiny", f"output_dir={root}"]) == 0
    return (root / "latest").resolve()

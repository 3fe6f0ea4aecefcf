"""Each mutation of benchmarks/mutations.py matches its source file exactly once."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutations_script", ROOT / "benchmarks" / "mutations.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


MUTATIONS = script()


def test_every_mutation_has_its_place_and_a_line_of_the_page() -> None:
    page = MUTATIONS.PAGE.read_text(encoding="utf-8")
    assert len(MUTATIONS.MUTATIONS) >= 20
    for mutation in MUTATIONS.MUTATIONS:
        assert MUTATIONS.place_of(ROOT, mutation).is_file()
        assert mutation.text != mutation.instead
        assert f"| {mutation.what} |" in page
    assert "survives" not in page


def test_a_text_that_is_gone_or_ambiguous_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    for text, where in (("x = 1", "nowhere"), ("a = 1; a = 1", "mixers.py, mixers.py")):
        (tmp_path / "models" / "mixers.py").write_text(text)
        with pytest.raises(LookupError, match=f"it is in: {where}"):
            MUTATIONS.place_of(tmp_path, MUTATIONS.Mutation("wrong", "a = 1", "a = 2"))


def test_a_mutation_changes_its_text_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    path = tmp_path / "models" / "mixers.py"
    path.write_text("b = 0\na = 1\n")
    assert MUTATIONS.mutate(tmp_path, MUTATIONS.Mutation("wrong", "a = 1", "a = 2")) == Path("models/mixers.py")
    assert path.read_text() == "b = 0\na = 2\n"

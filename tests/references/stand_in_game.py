"""Installation of the stand-in in place of the game."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """\
#!{python}
import sys
sys.path[:0] = [{root!r}, {here!r}]
import stand_in
stand_in.main()
"""


def install(folder: Path, maps: tuple[str, ...] = ("empty_passive",), build: int = 75689) -> Path:
    """A game's folder, to be named by SC2PATH."""
    program = folder / "Versions" / f"Base{build}" / "SC2_x64"
    program.parent.mkdir(parents=True, exist_ok=True)
    here = str(Path(__file__).parent)
    program.write_text(PROGRAM.format(python=sys.executable, root=str(ROOT), here=here), encoding="utf-8")
    program.chmod(0o755)
    for name in maps:
        path = folder / "Maps" / "SMAC_Maps" / f"{name}.SC2Map"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"a map")
    return folder


def write_setting(path: Path, scenario: dict[str, Any], **more: Any) -> Path:
    """What the program reads; STAND_IN names it."""
    path.write_text(json.dumps({"scenario": scenario, **more}), encoding="utf-8")
    return path

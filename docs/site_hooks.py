"""For MkDocs: version, API reference for every module, and links out of docs/ to it or to a copy of the file."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("models", "mipi_pl", "datamodules", "callbacks")
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((\.\./[^)#\s]+)(#[^)]*)?\)")


def on_config(config: MkDocsConfig, **_: Any) -> MkDocsConfig:
    """Show the version in the header, and the commit in the footer."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    command = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    try:
        commit = f", commit {subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()}"
    except (OSError, subprocess.CalledProcessError):
        commit = ""
    config.site_name = f"{config.site_name} {project['version']}"
    config.copyright = f"Version {project['version']}{commit}"
    return config


def on_files(files: Files, config: MkDocsConfig, **_: Any) -> Files:
    """Add the reference, and to the navigation what mkdocs.yml does not place."""
    placed = set(re.findall(r"[\w/]+\.md", str(config.nav)))
    others = sorted(file.src_uri for file in files.documentation_pages() if file.src_uri not in placed)
    if others and config.nav:
        config.nav.append({"More": others})
    modules = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")) if _has_content(path)]
    for path in modules:
        name = _module_of(path)
        files.append(File.generated(config, _page_of(path), content=f"# {name}\n\n::: {name}\n"))
    files.append(File.generated(config, "reference/index.md", content=_contents(modules)))
    return files


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, files: Files, **_: Any) -> str:
    """Let links to files of the repository lead to their reference or to a copy beside the site; folders have none."""

    def follow(found: re.Match[str]) -> str:
        text, target, anchor = found.groups()
        path = (ROOT / "docs" / page.file.src_uri).parent.joinpath(target).resolve()
        if (ROOT / "docs") in path.parents:
            return found.group()
        if path.is_dir():
            return f"{text} (`{path.relative_to(ROOT)}/`)"
        page_of = _page_of(path)
        if files.get_file_from_path(page_of) is None:
            page_of = f"files/{path.relative_to(ROOT).as_posix()}.txt"
            if files.get_file_from_path(page_of) is None:
                files.append(File.generated(config, page_of, content=path.read_text(encoding="utf-8")))
        return f"[{text}]({os.path.relpath(page_of, Path(page.file.src_uri).parent)}{anchor or ''})"

    return _LINK.sub(follow, markdown)


def _module_of(path: Path) -> str:
    """Return the name by which a module is imported; packages in the root are linked into `mipi_pl`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts if parts[0] == "mipi_pl" else ("mipi_pl", *parts)).removesuffix(".__init__")


def _page_of(path: Path) -> str:
    return f"reference/{path.relative_to(ROOT).with_suffix('.md').as_posix()}"


def _has_content(path: Path) -> bool:
    return bool(path.read_text(encoding="utf-8").strip())


def _contents(modules: list[Path]) -> str:
    lines = ["# API reference", "", "Made from the docstrings; imports point from the lower to the upper packages.", ""]
    folder = None
    for path in modules:
        if path.parent != folder:
            folder = path.parent
            lines += ["", f"## {_module_of(folder)}", "", "| module | what |", "|---|---|"]
        first = path.read_text(encoding="utf-8").split('"""')[1].splitlines()[0]
        link = _page_of(path).removeprefix("reference/")
        lines.append(f"| [{path.stem}]({link}) | {first.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"

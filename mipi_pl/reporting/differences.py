"""Tables of the settings that differ between groups of one name: the key to their labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mipi_pl.reporting.document import Block, Heading, Paragraph, Table
from mipi_pl.reporting.labels import RunSet, differing_keys, typed_differences

_MOST_ROWS = 60


def tables_of_differences(sets: Sequence[RunSet], labels: Sequence[str]) -> Iterator[Block]:
    """Yield a table for each name that several sets have: what was typed, and every key that differs.

    Args:
        sets: sets of runs.
        labels: label of each set.
    """
    shared = [name for name in dict.fromkeys(one.name for one in sets) if sum(one.name == name for one in sets) > 1]
    if shared:
        yield Heading(3, "What differs")
    for name in shared:
        chosen = [(one, label) for one, label in zip(sets, labels, strict=True) if one.name == name]
        yield from _table([one for one, _ in chosen], [label for _, label in chosen])


def _table(sets: Sequence[RunSet], labels: Sequence[str]) -> Iterator[Block]:
    keys = differing_keys(sets)
    typed = [" ".join(f"{key}={value}" for key, value in one.items()) or "-" for one in typed_differences(sets)]
    commits = [", ".join(sorted({(run.commit or "unknown")[:10] for run in one.runs})) for one in sets]
    rows = [["typed", *typed]] if set(typed) != {"-"} else []
    rows += [["commit", *commits]] if len(set(commits)) > 1 else []
    rows += [[key, *(one.settings.get(key, "-") for one in sets)] for key in keys[:_MOST_ROWS]]
    yield Table(["setting", *labels], rows, is_text=True)
    if len(keys) > _MOST_ROWS:
        yield Paragraph(f"{len(keys) - _MOST_ROWS} more settings differ.")

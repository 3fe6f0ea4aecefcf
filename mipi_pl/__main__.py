"""`python -m mipi_pl`, which is the command `mipi`."""

from __future__ import annotations

import sys

from mipi_pl.cli import main

if __name__ == "__main__":
    sys.argv[0] = "mipi"  # the command in the provenance of results
    sys.exit(main())

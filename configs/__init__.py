"""Hydra's configs: everything that can be chosen."""

if __name__ == "configs":  # imported from a checkout's root: its modules would exist twice
    raise ImportError("this folder is the package mipi_pl.configs")

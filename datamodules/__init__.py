"""Collection of episodes, replay and rollouts."""

if __name__ == "datamodules":  # imported from a checkout's root: its modules would exist twice
    raise ImportError("this folder is the package mipi_pl.datamodules")

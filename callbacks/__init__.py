"""Lightning callbacks of a run."""

if __name__ == "callbacks":  # imported from a checkout's root: its modules would exist twice
    raise ImportError("this folder is the package mipi_pl.callbacks")

"""Networks: tensors in, tensors out."""

if __name__ == "models":  # imported from a checkout's root: its modules would exist twice
    raise ImportError("this folder is the package mipi_pl.models")

"""Lightning's reading and writing of checkpoints, with files that carry their own checksum."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO

from mipi_pl.storage import sealed


class SealedCheckpointIO(CheckpointIO):
    """Writes and reads checkpoints with `mipi_pl.storage.sealed`; they hold tensors and plain values only."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint.

        Raises:
            OSError: if the file cannot be written.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        sealed.write(path, checkpoint)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Return the content of a checkpoint, on the processor.

        Raises:
            DamagedError: if the file is missing or damaged.
        """
        content: dict[str, Any] = sealed.load(Path(path))
        return content

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint."""
        Path(path).unlink(missing_ok=True)

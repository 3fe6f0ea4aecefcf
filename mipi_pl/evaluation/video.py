"""Writing of pictures to GIF files, or to MP4 files with the package imageio-ffmpeg."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from mipi_pl.evaluation.recording import Recording, common_view
from mipi_pl.storage.files import replacing

PICTURES_PER_S = 5
"""Frame rate of the videos, in pictures per second; a step of a battle is 0.36 s of the game."""
_LAST_S = 2.0  # duration of the last picture


def can_write_mp4() -> bool:
    """Return whether imageio-ffmpeg is installed."""
    return find_spec("imageio_ffmpeg") is not None


def beside_each_other(recordings: Sequence[Recording], size: int = 480) -> list[np.ndarray]:
    """Draw episodes side by side, on the same part of the ground; shorter ones repeat their last picture."""
    view = common_view(recordings)
    strips = [list(recording.pictures(view, size)) for recording in recordings]
    length = max(map(len, strips))
    return [np.concatenate([strip[min(k, len(strip) - 1)] for strip in strips], axis=1) for k in range(length)]


def write_gif(path: Path, pictures: Iterable[np.ndarray]) -> None:
    """Write a GIF that repeats endlessly.

    Args:
        path: file to write; nothing is left of it if writing fails.
        pictures: at least one, uint8 [H, W, 3].

    Raises:
        OSError: if the file cannot be written.
    """
    first, *others = [Image.fromarray(picture).quantize(64) for picture in pictures]
    durations = [1000 // PICTURES_PER_S] * len(others) + [int(1000 * _LAST_S)]
    with replacing(path) as unfinished:
        first.save(unfinished, "GIF", save_all=True, append_images=others, duration=durations, loop=0)


def write_mp4(path: Path, pictures: Sequence[np.ndarray]) -> None:
    """Write an MP4 file in H.264.

    Args:
        path: file to write; nothing is left of it if writing fails.
        pictures: at least one, uint8 [H, W, 3]; odd sizes are cropped to even ones.

    Raises:
        OSError: if the file cannot be written.
    """
    import imageio_ffmpeg

    height, width = pictures[0].shape[:2]
    even = [np.ascontiguousarray(picture[: height // 2 * 2, : width // 2 * 2]) for picture in pictures]
    still = [even[-1]] * int(_LAST_S * PICTURES_PER_S)
    with replacing(path) as unfinished:
        writer = imageio_ffmpeg.write_frames(
            str(unfinished), (width // 2 * 2, height // 2 * 2), fps=PICTURES_PER_S, macro_block_size=2,
            output_params=["-f", "mp4"],
        )  # fmt: skip
        writer.send(None)
        for picture in (*even, *still):
            writer.send(picture)
        writer.close()

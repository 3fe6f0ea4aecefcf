"""Training, evaluation and policies from Python, with the words of the command line."""

from __future__ import annotations

from pathlib import Path

from mipi_pl.actor import Actor
from mipi_pl.run.compose import compose
from mipi_pl.run.evaluate import evaluate_checkpoint, open_checkpoint
from mipi_pl.run.train import train as train_composed
from mipi_pl.storage import weights


def train(*overrides: str) -> Path:
    """Train as ``mipi train OVERRIDES`` does.

    Args:
        overrides: choices and values, such as ``"experiment=quickstart"``, ``"seed=1"``.

    Returns:
        The run folder; its last checkpoint is ``checkpoints/last.ckpt``.

    Raises:
        mipi_pl.utils.errors.UserError: for a mistake in the overrides.
    """
    return train_composed(compose(overrides))


def evaluate(checkpoint: str | Path, *overrides: str) -> Path:
    """Evaluate as ``mipi eval CHECKPOINT OVERRIDES`` does.

    Args:
        checkpoint: a file that `mipi train` or `mipi export` wrote, or the name of a shipped policy.
        overrides: such as ``"env.team_sizes=[6,7,8]"``, ``"held_out.episodes=64"``.

    Returns:
        The folder with results.json, results.csv and results.png.

    Raises:
        mipi_pl.utils.errors.UserError: for a checkpoint that cannot be used or a mistake in the overrides.
    """
    return evaluate_checkpoint(Path(checkpoint), overrides)


def load_policy(checkpoint: str | Path, greedy: bool = True, seed: int = 0) -> Actor:
    """The policy of a checkpoint, to act in an environment: ``td = policy(td)`` writes ``("agents", "action")``.

    It keeps the recurrent state of each environment and starts anew where ``is_init`` is True.

    Args:
        checkpoint: a file that `mipi train` or `mipi export` wrote, or the name of a shipped policy.
        greedy: the most probable action instead of a draw.
        seed: of the draws.

    Raises:
        mipi_pl.utils.errors.UserError: for a checkpoint that cannot be used.
    """
    subject = open_checkpoint(weights.located(Path(checkpoint)), [])
    actor: Actor = subject.algorithm.actor(greedy=greedy, seed=seed)
    return actor

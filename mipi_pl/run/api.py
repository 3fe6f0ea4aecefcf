"""Python interface to training, evaluation and trained policies, with the arguments of the command line."""

from __future__ import annotations

from pathlib import Path

from mipi_pl.actor import Actor
from mipi_pl.run.compose import compose
from mipi_pl.run.evaluate import evaluate_checkpoint, open_checkpoint
from mipi_pl.run.train import train as train_composed
from mipi_pl.storage import weights


def train(*overrides: str) -> Path:
    """Train a policy, like ``mipi train OVERRIDES``.

    Args:
        overrides: Hydra overrides, such as ``"experiment=quickstart"`` or ``"seed=1"``.

    Returns:
        The run folder; its last checkpoint is ``checkpoints/last.ckpt``.

    Raises:
        mipi_pl.utils.errors.UserError: if an override is invalid.
    """
    return train_composed(compose(overrides))


def evaluate(checkpoint: str | Path, *overrides: str) -> Path:
    """Evaluate a checkpoint, like ``mipi eval CHECKPOINT OVERRIDES``.

    Args:
        checkpoint: a file written by `mipi train` or `mipi export`, or the name of a shipped policy.
        overrides: keys of configs/eval.yaml or of the environment, such as ``"env.team_sizes=[6,7,8]"`` or
            ``"held_out.episodes=64"``; ``"config_dir=FOLDER"`` for modules of your own, see `load_policy`.

    Returns:
        The folder with results.json, results.csv and results.png.

    Raises:
        mipi_pl.utils.errors.UserError: if the checkpoint cannot be used or an override is invalid.
    """
    return evaluate_checkpoint(Path(checkpoint), overrides)


def load_policy(
    checkpoint: str | Path, greedy: bool = True, seed: int = 0, config_dir: str | Path | None = None
) -> Actor:
    """Load the policy of a checkpoint: ``td = policy(td)`` writes ``("agents", "action")``.

    The policy keeps the recurrent state of each environment and resets it where ``is_init`` is True.

    Args:
        checkpoint: a file written by `mipi train` or `mipi export`, or the name of a shipped policy.
        greedy: take the most probable action instead of sampling.
        seed: seed of the sampled actions.
        config_dir: folder of modules of your own, if the run was trained with one and the checkpoint is not in it.

    Returns:
        The policy, a module on tensordicts.

    Raises:
        mipi_pl.utils.errors.UserError: if the checkpoint cannot be used.
    """
    named = [] if config_dir is None else ["--config-dir", str(config_dir)]
    subject = open_checkpoint(weights.located(Path(checkpoint)), named)
    actor: Actor = subject.algorithm.actor(greedy=greedy, seed=seed)
    return actor

"""JaxMARL's side of the comparison: its recurrent IPPO or MAPPO on SMAX, from a checkout outside this repository.

PATH/bin/python benchmarks/peers/loop_jaxmarl.py --jaxmarl CHECKOUT --algorithm ippo --map 3s5z --width 128 --seconds 5

The training function and its settings are the checkout's. This script changes the map and the widths, and measures from
outside: the training function logs to W&B after every update, and a stand-in for the package `wandb` takes the time.
The whole training is one compiled call, so waiting for the next turn happens inside that logging call.
"""

from __future__ import annotations

import argparse
import importlib
import math
import os
import sys
import time
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loop_recorder import LoopRecorder
from turns import claim_output, my_turn

SCRIPTS = {
    "ippo": ("IPPO", "ippo_rnn_smax", "ippo_rnn_smax"),
    "mappo": ("MAPPO", "mappo_rnn_smax", "mappo_homogenous_rnn_smax"),
}
"""Folder below baselines/, module and file of settings of each algorithm."""
PACKAGES = ("jaxmarl", "jax", "jaxlib", "flax", "optax", "distrax")


def check(checkout: Path, algorithm: str) -> tuple[Path, Path]:
    """Returns the module and the settings of an algorithm.

    Raises:
        SystemExit: if `checkout` is not a checkout of JaxMARL.
    """
    folder, module, settings = SCRIPTS[algorithm]
    base = checkout / "baselines" / folder
    paths = (base / f"{module}.py", base / "config" / f"{settings}.yaml")
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise SystemExit(
            f"--jaxmarl must be a checkout of JaxMARL, got {checkout} without {' and '.join(missing)}: "
            "see benchmarks/peer_jaxmarl.py for the command that clones it"
        )
    return paths


def load(checkout: Path, algorithm: str, log: Any) -> tuple[Any, dict[str, Any]]:
    """Returns the module of an algorithm and its published settings; its `wandb.log` is `log`."""
    module, settings = check(checkout, algorithm)
    sys.path[:0] = [str(checkout), str(module.parent)]
    sys.dont_write_bytecode = True
    wandb: Any = types.ModuleType("wandb")
    wandb.log = log
    sys.modules["wandb"] = wandb
    from omegaconf import OmegaConf

    published: Any = OmegaConf.to_container(OmegaConf.load(settings))  # unresolved: one key needs an account of W&B
    return importlib.import_module(module.stem), published


def set_width(module: Any, config: dict[str, Any], width: int) -> None:
    """Set the width of all layers. The recurrent state follows, whose size MAPPO has as a number in its code."""
    config["FC_DIM_SIZE"] = config["GRU_HIDDEN_DIM"] = width
    initial = module.ScannedRNN.initialize_carry
    module.ScannedRNN.initialize_carry = staticmethod(lambda batch_size, _: initial(batch_size, width))


def train(options: argparse.Namespace, output: Any) -> None:
    """Compile the training function and train until the turns end."""

    def log(metrics: Mapping[str, Any]) -> None:
        win_rate = float(metrics["win_rate"])
        if not recorder.update(frames, None if math.isnan(win_rate) else win_rate):
            output.flush()
            os._exit(0)  # a compiled loop has no other way out

    module, config = load(options.jaxmarl, options.algorithm, log)
    import jax  # type: ignore[import-not-found]

    config["MAP_NAME"] = options.map
    set_width(module, config, options.width)
    frames = int(config["NUM_ENVS"] * config["NUM_STEPS"])
    versions = {name: sys.modules[name].__version__ for name in PACKAGES if name in sys.modules}
    about = {"settings": {name: value for name, value in config.items() if "WANDB" not in name}, "versions": versions}
    recorder = LoopRecorder(output, options.seconds, about)
    if not my_turn():
        return
    start_s = time.perf_counter()
    key = jax.random.PRNGKey(config["SEED"])
    compiled = jax.jit(module.make_train(dict(config))).lower(key).compile()
    recorder.begin(time.perf_counter() - start_s)
    jax.block_until_ready(compiled(key))
    raise SystemExit(f"the {config['TOTAL_TIMESTEPS']:,.0f} frames ended before the turns: choose fewer --seconds")


def main() -> None:
    """Train in turns until they end."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jaxmarl", type=Path, required=True, help="a checkout of JaxMARL")
    parser.add_argument("--algorithm", choices=SCRIPTS, required=True, help="its algorithm")
    parser.add_argument("--map", required=True, help="a map of SMAX")
    parser.add_argument("--width", type=int, required=True, help="width of the networks and of the recurrent state")
    parser.add_argument("--seconds", type=float, required=True, help="shortest length of a turn")
    options = parser.parse_args()
    train(options, claim_output())


if __name__ == "__main__":
    main()

"""Composition of configs from command-line overrides, by Hydra."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, cast

import hydra
from hydra.errors import ConfigCompositionException, MissingConfigException
from omegaconf import DictConfig, OmegaConf, open_dict

from mipi_pl.run.config import check_structure
from mipi_pl.run.config_files import files_below, groups, inner_choices
from mipi_pl.run.flags import no_other_hydra
from mipi_pl.run.hints import unknown_key
from mipi_pl.run.naming import name_run
from mipi_pl.run.own_folder import as_override, named_folder, search_path, use_modules
from mipi_pl.run.signatures import takes
from mipi_pl.storage.former_names import moved_key
from mipi_pl.utils.errors import UserError, did_you_mean, one_message

_SEVERAL = {"callbacks", "logger"}
"""Config groups that accept several choices at once."""
_REQUIRED = {"~env", "~algorithm", "~datamodule", "~trainer", "~network"}
"""Removals that leave nothing to run."""
_NOTHING = {"experiment=null", "debug=null", "~experiment", "~debug"}
"""Overrides that repeat the default of train.yaml; Hydra does not accept null as a choice."""
_ALIASES = {
    **dict.fromkeys(("~tuned", "tuned=null"), "tuned=none"),
    **dict.fromkeys(("~teams", "teams=null"), "teams=several"),
}
"""Choices that other choices refer to, which Hydra therefore cannot remove."""


def compose(overrides: Sequence[str]) -> DictConfig:
    """Compose train.yaml with the given overrides.

    Interpolations are not resolved; see `mipi_pl.run.config.resolve`.

    Raises:
        UserError: if a choice or a key does not exist, or an override cannot be parsed.
    """
    overrides = as_override(as_hydra_has_it(overrides))
    _check_optional(overrides)
    _check_choices(overrides)
    try:
        with no_other_hydra(), hydra.initialize_config_module("mipi_pl.configs", version_base="1.3"):
            composed = hydra.compose("train", [*overrides, *search_path(overrides)], return_hydra_config=True)
        choices = dict(composed.hydra.runtime.choices)
    except Exception as error:  # Hydra and OmegaConf raise errors of many types, such as a RecursionError
        raise UserError(_reason(error, overrides)) from error
    with open_dict(composed):
        del composed["hydra"]
    _check_optimizers(overrides, choices)
    check_structure(composed)
    # Hydra's runtime state is not set here, so the choices that name the run cannot be interpolated from it.
    name_run(composed, choices, overrides)
    use_modules(named_folder(overrides))
    return composed


def _reason(error: Exception, overrides: Sequence[str]) -> str:
    """Return why Hydra cannot compose the config, with the available choices or keys."""
    if isinstance(error, MissingConfigException):
        path, _, name = (error.missing_cfg_file or "").rpartition("/")
        group = path.split("/")[0]
        inner = path.partition("/")[2]
        word = f"{inner}/{name}" if inner else name
        options = [*(error.options or ()), *inner_choices(group)]
        hint = did_you_mean(word, options, f"{group}={{}}")
        return f"there is no configs/{path}/{name}.yaml; {hint}{group} can be: {', '.join(options) or 'none'}"
    if isinstance(error, RecursionError):
        return "the config cannot be composed: config files or interpolations ${...} refer to one another"
    if twice := re.match(r"Multiple values for (\S+?)\.? ", str(error)):
        return f"{twice[1]} has a choice already: write {twice[1]}=NAME, without +, to change it"
    absent = re.match(r"Could not override '(?P<key>[^']+)'", str(error))
    if not (absent and isinstance(error, ConfigCompositionException)):
        return one_message(error)
    if absent["key"].partition("@")[0] in groups():
        similar = re.search(r"Did you mean to override (\S+?)\?", str(error))
        hint = f"; did you mean {similar[1]}=...?" if similar else ""
        return f"{absent['key']} cannot be chosen, because no other choice (env, algorithm, ...) takes it here{hint}"
    if absent["key"] == "map":
        return _map_hint(overrides)
    key, chosen = absent["key"], _with_choices(overrides)
    known = list(_keys_below(chosen))
    if key in known:  # the mapping exists and the entry does not
        return f"{key} has no such entry yet; to add one, write +{key}.NAME=..."
    path, _, name = key.rpartition(".")
    if takes(OmegaConf.select(OmegaConf.create(chosen), path), path, name):
        return f"{key} is an argument that no config sets; to set it, write +{key}=..."
    return moved_key(chosen["algorithm"].get("_target_"), key) or unknown_key("", key, known)


def _map_hint(overrides: Sequence[str]) -> str:
    """Return what to write instead of ``map=3m``."""
    name = [override.partition("=")[2] for override in overrides if override.startswith("map=")][-1]
    simulated = f"map_{name.lower()}"
    hint = f"unknown key map; a map of SMAC is chosen with env=smac env.map_name={name}"
    is_simulated = files("mipi_pl.configs").joinpath("env", f"{simulated}.yaml").is_file()
    return f"{hint}, or without the game with env={simulated}" if is_simulated else hint


def as_hydra_has_it(arguments: Sequence[str]) -> list[str]:
    """Return the overrides without those that repeat a default, and with choices in the place of removals."""
    return [_ALIASES.get(word, word) for word in arguments if word not in _NOTHING]


def _check_optional(overrides: Sequence[str]) -> None:
    """Check that files below tuned/ and experiment/ exist if an override names them; Hydra treats them as optional.

    A file may be in the program's configs or in the user's own config folder.
    """
    own = named_folder(overrides)
    roots: list[Traversable] = [files("mipi_pl.configs"), *([] if own is None else [Path(own)])]
    for override in overrides:
        group, equals, name = override.partition("=")
        if not (group.startswith(("tuned/", "experiment/")) and equals):
            continue
        folders = [root.joinpath(*group.split("/")) for root in roots]
        if not any(folder.joinpath(f"{name}.yaml").is_file() for folder in folders):
            known = sorted({file for folder in folders for file in files_below(folder)})
            hint = did_you_mean(name, known, f"{group}={{}}")
            raise UserError(
                f"there is no configs/{group}/{name}.yaml; {hint}{group} can be: {', '.join(known) or 'none'}"
            )


def _check_choices(overrides: Sequence[str]) -> None:
    """Reject removals of groups that every run needs, and lists and mappings that Hydra would treat as file names."""
    known_groups = set(groups())
    for override in overrides:
        if override in _REQUIRED:
            raise UserError(f"{override} leaves no {override[1:]}; choose another one instead: {override[1:]}=NAME")
        group = re.split("[@=]", override.lstrip("+"))[0]
        if group not in known_groups or not (value := re.fullmatch(r"[^=]+=([\[{].*)", override)):
            continue
        if group not in _SEVERAL:
            raise UserError(f"{group} is one choice, such as {group}=NAME, got {override}")
        if not re.fullmatch(r"\[\s*[A-Za-z_][\w/]*(\s*,\s*[A-Za-z_][\w/]*)*\s*\]", value[1]):
            raise UserError(f"{group} is a name or a list of names, such as {group}=[NAME,NAME], got {override}")


def _check_optimizers(overrides: Sequence[str], choices: Mapping[str, str]) -> None:
    """Reject a choice of `optimizers` that no part of the algorithm follows.

    Parts whose optimizer is chosen on the command line are left out, and so is a file of the user's own, which may set
    more than the kind of optimizer.
    """
    typed = {word.partition("=")[0] for word in overrides}
    if "optimizers" not in typed:
        return
    chosen = choices["optimizers"]
    parts = {key: name for key, name in choices.items() if key.startswith("optimizer@algorithm.") and key not in typed}
    known = files("mipi_pl.configs").joinpath("optimizer", f"{chosen}.yaml").is_file()
    if known and parts and chosen not in parts.values():
        instead = " ".join(f"{part}={chosen}" for part in sorted(parts))
        raise UserError(
            f"optimizers={chosen} changes nothing for algorithm={choices['algorithm']}, whose parts have optimizers of "
            f"their own; choose them for each part: {instead}"
        )


def _with_choices(overrides: Sequence[str]) -> dict[str, Any]:
    """Return the config that is composed with the same choices and no other overrides."""
    choice_keys = {*groups(), "config_dir"} - {"optimizers"}  # which changes no key, and may be refused
    config = compose([override for override in overrides if override.split("=")[0].lstrip("+") in choice_keys])
    return cast(dict[str, Any], OmegaConf.to_container(config))


def _keys_below(node: object, path: str = "") -> Iterator[str]:
    for key, value in node.items() if isinstance(node, dict) else ():
        yield f"{path}{key}"
        yield from _keys_below(value, f"{path}{key}.")

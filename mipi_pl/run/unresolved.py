"""Messages for values that OmegaConf cannot merge or resolve."""

from __future__ import annotations

from collections.abc import Iterator

from omegaconf import DictConfig, OmegaConf

from mipi_pl.utils.errors import UserError, one_message


def unmerged(error: Exception, name: str, config: DictConfig | None = None) -> UserError:
    """Return the error for values that cannot be merged or resolved.

    Args:
        error: error of OmegaConf, which raises many types, or of a resolver.
        name: what cannot be merged or resolved, for the message.
        config: config that cannot be resolved; its key with the mistake is named.
    """
    if isinstance(error, RecursionError):
        return UserError(f"{name}: interpolations ${{...}} in it refer to one another")
    if config is not None and (origin := _origin(config)) is not None:
        key, error = origin
        return UserError(f"{name}: {key}: {one_message(error)}")
    return UserError(f"{name}: {one_message(error)}")


def _origin(config: DictConfig) -> tuple[str, Exception] | None:
    """Return the first key that cannot be resolved although all keys it refers to can, or of a cycle, and its error.

    OmegaConf names the key that it has looked at first, which may only refer to the one with the mistake.
    """
    failed: dict[str, tuple[str, Exception]] = {}
    for key, text in _interpolated(OmegaConf.to_container(config)):
        try:
            OmegaConf.select(config, key, throw_on_missing=True)
        except Exception as error:  # a resolver can raise anything
            failed[key] = text, error
    for key, (text, cause) in failed.items():
        if not any(f"${{{other}}}" in text for other in failed if other != key):
            return key, cause
    for key, (_, cause) in failed.items():  # a cycle: the first that another refers to
        if any(f"${{{key}}}" in text for text, _ in failed.values()):
            return key, cause
    return None


def _interpolated(node: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the keys and texts of the leaves that are interpolated or missing."""
    if isinstance(node, (dict, list)):
        for key, child in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _interpolated(child, f"{path}.{key}" if path else str(key))
    elif isinstance(node, str) and ("${" in node or node == "???"):
        yield path, node

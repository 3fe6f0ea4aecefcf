"""Lets the messages of StarCraft II be imported beside a recent protobuf.

The modules of `s2clientprotocol` were generated for protobuf 3 and are refused by protobuf 4 and later ("Descriptors
cannot be created directly"). The descriptions inside them are fine: the messages are built from those instead. The
other remedy, PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python, slows down all messages of every library in the process.
"""

from __future__ import annotations

import ast
import importlib
import re
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

_PACKAGE = "s2clientprotocol"
_DESCRIPTION = re.compile(r"^\s*serialized_pb=_b\((?P<text>'.*')\)", re.MULTILINE)


def enable() -> None:
    """Build the messages of `s2clientprotocol` from their descriptions from now on."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if not (name.startswith(f"{_PACKAGE}.") and name.endswith("_pb2")):
            return None
        found = PathFinder.find_spec(name, path)
        if found is None or found.origin is None:
            return found
        description = _DESCRIPTION.search(Path(found.origin).read_text(encoding="utf-8"))
        if description is None:  # generated for a later protobuf, which imports as it is
            return found
        serialized = ast.literal_eval(description["text"]).encode("latin1")
        return ModuleSpec(name, _Messages(serialized), origin=found.origin)


class _Messages(Loader):
    def __init__(self, serialized: bytes) -> None:
        self._serialized = serialized

    def exec_module(self, module: ModuleType) -> None:
        from google.protobuf import descriptor_pb2, descriptor_pool
        from google.protobuf.internal import builder

        file = descriptor_pb2.FileDescriptorProto.FromString(self._serialized)
        for dependency in file.dependency:  # must be in the pool before
            importlib.import_module(dependency.removesuffix(".proto").replace("/", ".") + "_pb2")
        pool: Any = descriptor_pool.Default()
        described = pool.AddSerializedFile(self._serialized)
        names = vars(module)
        names["DESCRIPTOR"] = described
        builder.BuildMessageAndEnumDescriptors(described, names)
        builder.BuildTopDescriptorsAndMessages(described, module.__name__, names)

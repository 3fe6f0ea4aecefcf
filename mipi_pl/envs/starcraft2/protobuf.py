"""Import hook that makes `s2clientprotocol` work with protobuf 4 and later.

The modules of `s2clientprotocol` were generated for protobuf 3; protobuf 4 and later refuse them ("Descriptors cannot
be created directly"). The serialized descriptors inside them are valid, so the hook builds the messages from those. The
alternative, PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python, slows down the messages of every library in the process.
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
    """Install the import hook. Later imports of `s2clientprotocol` build their messages from the descriptors."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if not (name.startswith(f"{_PACKAGE}.") and name.endswith("_pb2")):
            return None
        spec = PathFinder.find_spec(name, path)
        if spec is None or spec.origin is None:
            return spec
        description = _DESCRIPTION.search(Path(spec.origin).read_text(encoding="utf-8"))
        if description is None:  # generated for a later protobuf, so it can be imported unchanged
            return spec
        serialized = ast.literal_eval(description["text"]).encode("latin1")
        return ModuleSpec(name, _Messages(serialized), origin=spec.origin)


class _Messages(Loader):
    def __init__(self, serialized: bytes) -> None:
        self._serialized = serialized

    def exec_module(self, module: ModuleType) -> None:
        from google.protobuf import descriptor_pb2, descriptor_pool
        from google.protobuf.internal import builder

        file = descriptor_pb2.FileDescriptorProto.FromString(self._serialized)
        for dependency in file.dependency:  # dependencies must be in the pool first
            importlib.import_module(dependency.removesuffix(".proto").replace("/", ".") + "_pb2")
        pool: Any = descriptor_pool.Default()
        descriptor = pool.AddSerializedFile(self._serialized)
        names = vars(module)
        names["DESCRIPTOR"] = descriptor
        builder.BuildMessageAndEnumDescriptors(descriptor, names)
        builder.BuildTopDescriptorsAndMessages(descriptor, module.__name__, names)

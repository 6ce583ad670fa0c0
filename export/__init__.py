"""Turn a checkpoint into a verified bundle.

The package is callable: `gasmcast.export(...)` runs the function of `gasmcast.api.export`, because
the public function and this package, a folder of the top level, have the same name.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any

__all__: list[str] = []


class _CallablePackage(types.ModuleType):
    """Package that can be called like the public function of its name."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - see the function
        # By name, because this package must not depend on the layer above it.
        return importlib.import_module("gasmcast.api.export").export(*args, **kwargs)


sys.modules[__name__].__class__ = _CallablePackage

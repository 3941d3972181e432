"""Compression: pruning, quantization, distillation; model + plan -> model.

The package can be called: `hwnas.compress(network, device=...)` compresses a network that is there already.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _CallableModule(ModuleType):
    # `hwnas.compress` is the package as soon as one of its modules is imported, so the function of that name must be
    # the package too. What it runs lies above this package, which is why it is only named here.
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from importlib import import_module

        return import_module("hwnas.search.compression").compress(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule

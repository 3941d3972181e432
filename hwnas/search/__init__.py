"""The search: settings, study, loop, finishing. The package can be called: `hwnas.search(device=...)` runs a search."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _CallableModule(ModuleType):
    # `hwnas.search` is the package as soon as one of its modules is imported, so the function of that name must be
    # the package too.
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from hwnas.search.api import search

        return search(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule

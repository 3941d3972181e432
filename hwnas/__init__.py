"""Hardware-aware neural architecture search: what the front says is what the device does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hwnas.core.architecture import Architecture
    from hwnas.core.candidate import Candidate
    from hwnas.core.compression import CompressionPlan
    from hwnas.core.front import Front, FrontModel
    from hwnas.core.space import Choice, SearchSpace
    from hwnas.core.task import Preprocessing, Split, Task
    from hwnas.errors import HwnasError
    from hwnas.search.api import search, worker
    from hwnas.search.compression import compress
    from hwnas.search.config import SearchConfig
    from hwnas.search.run import SearchResult
    from hwnas.search.sampler import HypervolumeSampler
    from hwnas.store import read_front

    __version__: str

__all__ = [
    "Architecture",
    "Candidate",
    "Choice",
    "CompressionPlan",
    "Front",
    "FrontModel",
    "HwnasError",
    "HypervolumeSampler",
    "Preprocessing",
    "SearchConfig",
    "SearchResult",
    "SearchSpace",
    "Split",
    "Task",
    "__version__",
    "compress",
    "read_front",
    "search",
    "worker",
]

# Public name -> module that defines it. Nothing is imported before it is asked for; "compress" and "search" are the
# packages themselves, which can be called.
_HOMES = {
    "Architecture": "hwnas.core.architecture",
    "Candidate": "hwnas.core.candidate",
    "Choice": "hwnas.core.space",
    "CompressionPlan": "hwnas.core.compression",
    "Front": "hwnas.core.front",
    "FrontModel": "hwnas.core.front",
    "HwnasError": "hwnas.errors",
    "HypervolumeSampler": "hwnas.search.sampler",
    "Preprocessing": "hwnas.core.task",
    "SearchConfig": "hwnas.search.config",
    "SearchResult": "hwnas.search.run",
    "SearchSpace": "hwnas.core.space",
    "Split": "hwnas.core.task",
    "Task": "hwnas.core.task",
    "read_front": "hwnas.store",
    "worker": "hwnas.search.api",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("hwnas")
    from importlib import import_module

    if name in ("compress", "search"):
        return import_module(f"hwnas.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'hwnas' has no attribute {name!r}; public names: {', '.join(__all__)}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

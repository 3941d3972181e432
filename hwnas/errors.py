"""Every error that hwnas raises on purpose; a message says what, got, allowed, next step.

HwnasError
├── ConfigError                a setting is wrong or contradicts another
├── UnknownPluginError         no device, space, task or runtime of that name
├── DuplicatePluginError       two packages offer the same name
├── MissingDependencyError     an optional package is not installed
├── InvalidArchitectureError   an architecture or plan is not in the space
├── BuildError                 a space's `build` raised or gave the wrong output
├── DataError                  a data set is missing, empty or broken
├── ModelFileError             a model file is missing, damaged or not of a kind that can be read
├── MeasurementError           a model could not be measured
├── PredictorError             a predictor cannot be fitted, read or used
├── InfeasibleBudgetError      no candidate meets the budget
├── TrainingError              training diverged
├── RuntimeExportError         a runtime refused to export or to run a model
├── RunFolderError             a run folder exists, is damaged or is in use
├── StorageError               a study's database cannot be reached
├── ClusterError               a Ray cluster cannot be reached or used
├── ReferencePointError        a hypervolume's reference point is not above every cost
└── SchemaError                a file was written by another version
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

__all__ = [
    "BuildError",
    "ClusterError",
    "ConfigError",
    "DataError",
    "DuplicatePluginError",
    "HwnasError",
    "InfeasibleBudgetError",
    "InvalidArchitectureError",
    "MeasurementError",
    "MissingDependencyError",
    "ModelFileError",
    "PredictorError",
    "ReferencePointError",
    "RunFolderError",
    "RuntimeExportError",
    "SchemaError",
    "StorageError",
    "TrainingError",
    "UnknownPluginError",
    "nearest",
]


class HwnasError(Exception):
    """Base of every error that hwnas raises on purpose."""


class ConfigError(HwnasError, ValueError):
    """A setting is wrong or contradicts another."""


class UnknownPluginError(HwnasError, LookupError):
    """No plugin of this kind has this name; the nearest name is suggested."""

    def __init__(self, kind: str, name: str, known: Sequence[str]) -> None:
        guess = nearest(name, known)
        hint = f" did you mean {guess!r}?" if guess else ""
        super().__init__(f"no {kind} named {name!r};{hint} known: {', '.join(known) or 'none'}. Run `hwnas {kind}s`.")


class DuplicatePluginError(HwnasError):
    """Two installed packages offer a plugin of the same kind and name."""


class MissingDependencyError(HwnasError, ImportError):
    """An optional package is not installed; the message holds the install command."""


class InvalidArchitectureError(HwnasError, ValueError):
    """An architecture or compression plan does not belong to the space."""


class BuildError(HwnasError):
    """A space's `build` raised, or its network has the wrong output shape."""


class DataError(HwnasError):
    """A data set is missing, empty or broken."""


class ModelFileError(HwnasError):
    """A model file is missing, damaged, or holds what cannot be read as one network."""


class MeasurementError(HwnasError):
    """A model could not be measured, or measurements cannot be used."""


class PredictorError(HwnasError):
    """A predictor cannot be fitted, read or used."""


class InfeasibleBudgetError(HwnasError):
    """No candidate of the space meets the budget; the message holds the best that was seen."""


class TrainingError(HwnasError):
    """Training diverged (a loss that is not finite)."""


class RuntimeExportError(HwnasError):
    """A runtime refused to export, load or run a model, or its answer differs from torch's."""


class RunFolderError(HwnasError):
    """A run folder exists already, is damaged, is not writable or is in use by another search."""


class StorageError(HwnasError):
    """The database that holds a study cannot be reached."""


class ClusterError(HwnasError):
    """A Ray cluster cannot be reached, has other versions, or was lost."""


class ReferencePointError(HwnasError, ValueError):
    """A hypervolume's reference point is not above every cost."""


class SchemaError(HwnasError):
    """A file was written with a schema that this version does not read."""


def nearest(name: str, known: Sequence[str]) -> str | None:
    """Return the known name that is most like `name`, or None if none is alike."""
    found = difflib.get_close_matches(name.lower(), [k.lower() for k in known], n=1, cutoff=0.5)
    return next((k for k in known if found and k.lower() == found[0]), None)

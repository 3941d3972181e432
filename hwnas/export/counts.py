"""MACs and parameters of a model as fvcore counts them, which is what manifests quote."""

from __future__ import annotations

import warnings
from typing import Any

__all__ = ["count"]

# Multiply-adds that a deployed network really does. fvcore also counts batch norm, which deployment folds away, and
# pooling, which adds but does not multiply.
_MAC_OPERATORS = ("conv", "linear", "addmm", "mm", "bmm", "matmul", "einsum")


def count(model: Any, input_shape: tuple[int, ...], *, dtype: str = "float32") -> dict[str, Any]:
    """MACs of convolutions, linear layers and matrix products at batch 1, and the number of parameters.

    Args:
        model: a `torch.nn.Module` on the CPU in eval mode.
        dtype: of its input.
    Returns:
        "macs", "params", "source" ("fvcore"), "operators" (those counted) and "not_counted": operator -> number of
        calls that fvcore does not know (scaled dot-product attention among them).
    """
    import torch

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of tracing, and of what fvcore imports
        from fvcore.nn import FlopCountAnalysis, parameter_count

        analysis = FlopCountAnalysis(model, (torch.zeros(1, *input_shape, dtype=getattr(torch, dtype)),))
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
        by_operator = analysis.by_operator()
        unknown = analysis.unsupported_ops()
    counted = {name: int(by_operator[name]) for name in _MAC_OPERATORS if name in by_operator}
    return {
        "macs": sum(counted.values()),
        "params": int(parameter_count(model)[""]),
        "source": "fvcore",
        "operators": counted,
        "not_counted": {name: int(n) for name, n in sorted(unknown.items())},
    }

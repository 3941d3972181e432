"""`hwnas spaces`."""

from __future__ import annotations

from typing import Any

from hwnas.cli.options import AsJson
from hwnas.cli.output import print_json, print_table

__all__ = ["spaces"]


def spaces(as_json: AsJson = False) -> None:
    """List the search spaces."""
    from hwnas.plugins import load_plugin, plugin_names

    found = [(name, load_plugin("space", name)) for name in plugin_names("space")]
    rows = [
        {
            "name": name,
            "architectures": space.size,
            "choices": [choice.label for choice in space.choices],
            "weight_shared": space.weight_shared,
            "stages": list(space.stages),
            "input_shape": None if space.input_shape is None else list(space.input_shape),
            "input": _input(space),
        }
        for name, space in found
    ]
    if as_json:
        print_json(rows)
        return
    print_table(
        "search spaces",
        ("space", "architectures>", "choices>", "stages to prune>", "input", "weights"),
        (
            (
                row["name"],
                f"{row['architectures']:.3g}",
                len(row["choices"]),
                len(row["stages"]),
                row["input"],
                "shared" if row["weight_shared"] else "trained one by one",
            )
            for row in rows
        ),
    )


def _input(space: Any) -> str:
    """What a space takes, in words."""
    if space.input_shape is not None:
        return " x ".join(map(str, space.input_shape))
    example = getattr(space, "example", None)
    if example is None or len(example.input_shape) == 3:
        return "any image"
    return "any sound" if example.n_ids is None else "any text"

"""`hwnas spaces`."""

from __future__ import annotations

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
                "any image" if row["input_shape"] is None else " x ".join(map(str, row["input_shape"])),
                "shared" if row["weight_shared"] else "trained one by one",
            )
            for row in rows
        ),
    )

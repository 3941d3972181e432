"""A search on images of one's own: a folder per class, or parquet files with an image and a label column.

Run: python examples/own_images.py FOLDER --device cpu --minutes 10
"""

from __future__ import annotations

import argparse
from pathlib import Path

import hwnas

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="a folder per class, train/ val/ test/ with such folders, or parquet")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--space", default="mobilenet")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--to", type=Path, default=Path("deploy"), help="a new folder for the most accurate model")
    arguments = parser.parse_args()
    result = hwnas.search(
        device=arguments.device,
        space=arguments.space,
        task="images",
        data=arguments.data,
        time_s=60 * arguments.minutes,
        n_front=4,
    )
    for model in result.front:
        print(f"{model.id}  accuracy {model.accuracy:.3f}  {model.latency_ms:.3f} ms")
    best = max(result.front, key=lambda model: model.accuracy)
    manifest = result.export(best.id, format="onnx", to=arguments.to)
    print(f"classes: {', '.join(manifest['class_names'])}")
    print(f"model: {arguments.to / manifest['artifact']['path']}")
    print(f"run folder: {result.run_dir}")

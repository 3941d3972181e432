"""Check what an installed wheel said and made: the devices, the spaces, and the front of a small search.

Run outside the checkout: python check_installed.py CHECKOUT devices.json spaces.json RUN
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import hwnas


def main(checkout: Path, devices: Path, spaces: Path, run: Path) -> None:
    """Raise unless everything is there."""
    home = Path(hwnas.__file__).resolve()
    if home.is_relative_to(checkout.resolve()):
        raise SystemExit(f"hwnas was imported from the checkout, {home}; the wheel was not tested")
    predictors = {
        (device["name"], predictor["precision"])
        for device in json.loads(devices.read_text())
        for predictor in device["predictors"]
    }
    shipped = {("jetson-nano", "fp32"), ("jetson-nano", "fp16"), ("jetson-tx2", "fp32")}
    if not shipped <= predictors:
        raise SystemExit(f"latency models are missing from the wheel: {sorted(shipped - predictors)}")
    names = {space["name"] for space in json.loads(spaces.read_text())}
    if not {"mobilenet", "nasbench201"} <= names:
        raise SystemExit(f"search spaces are missing from the wheel; it has {sorted(names)}")
    front = json.loads((run / "front.json").read_text())
    if front["schema"] != 1 or front["devices"] != ["jetson-nano"] or not front["models"]:
        raise SystemExit(f"front.json is not a front of jetson-nano with models: {json.dumps(front)[:300]}")
    for model in front["models"]:
        artifact = model["artifacts"]["onnx"]
        found = hashlib.sha256((run / artifact["path"]).read_bytes()).hexdigest()
        if found != artifact["sha256"]:
            raise SystemExit(f"{artifact['path']} has another SHA-256 than front.json says")
        if model["accuracy"]["source"] != "deployed-file" or not 0 < model["accuracy"]["value"] <= 1:
            raise SystemExit(f"model {model['id']}: accuracy was not read from the file: {model['accuracy']}")
    print(f"{len(predictors)} predictors, spaces {', '.join(sorted(names))}, a front of {len(front['models'])} models")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:5]))

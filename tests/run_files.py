"""What a search left in its folder, read as plain lines: nothing of hwnas, nothing of optuna."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def finished_trials(journal: Path) -> list[str]:
    """Ids of the candidates whose evaluation is in the journal, in the order of their results."""
    ids, done = {}, []
    for line in journal.read_bytes().split(b"\n")[:-1] if journal.exists() else ():
        entry = json.loads(line)
        if found := entry.get("user_attr", {}).get("hwnas"):
            ids[entry["trial_id"]] = found["id"]
        if entry.get("values") and entry.get("trial_id") in ids:
            done.append(ids[entry["trial_id"]])
    return done


def trial_rows(run_dir: Path) -> list[dict[str, Any]]:
    """What the report draws of each trial, without what a clock says of it."""
    rows = [json.loads(line) for line in (run_dir / "trials.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "finished_s"} for row in rows]

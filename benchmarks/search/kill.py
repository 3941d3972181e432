"""Searches that are killed again and again: `python benchmarks/search/kill.py` writes results/<date>-kill.json.

    python benchmarks/search/kill.py [--kills 100] [--seed 0] [--trials 40] [--space small] [--device jetson]

A `digits` search runs once unbroken. The same search is then killed (SIGKILL to its whole process group) at a random
moment, resumed, killed again, until it ends; and that with new searches until there were `--kills` kills. A fifth of
the moments lie in the start of the process, the others in the work that it does then, so that a slow start does not
take them all. Half of the kills come at that moment; the others wait from then on for a file of the run folder to be
half written, or for the journal to grow, and come at once. Counted are finished trials that were in the journal before
a kill and are not afterwards, candidates that were evaluated twice, finished models that were made again, and fronts
and files that differ from those of the unbroken search.

The space `small` is a weight-shared one of this benchmark: its phases take about equally long, so that none is spared.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from record import record
from run_files import finished_trials, trial_rows

MOMENTS = {"time": 0.5, "file": 0.25, "journal": 0.25}  # what a kill waits for, and how often
IN_START = 0.2  # of the kills
PIECE = 0.1  # of the work of an unbroken search is the most that a process does before it is killed
WAIT_S = 1800.0  # longest session
SPACE = """
from hwnas.elastic.blocks import ElasticClassifier, ElasticConvBlock
from hwnas.elastic.inverted_residual import ElasticInvertedResidual
from hwnas.elastic.space import ElasticSpace


def blocks(task):
    chain, max_in = [ElasticConvBlock("stem.width", task.input_shape[0], (8, 16))], 16
    for stage, widths in (("early", (16, 24)), ("late", (24, 32, 40))):
        for index in range(2):
            stride = 2 if index == 0 else 1
            chain.append(ElasticInvertedResidual(stage, index, max_in, widths, (1, 2), stride=stride))
            max_in = widths[-1]
    return [*chain, ElasticConvBlock("head.width", max_in, (32, 64), kernel=1), ElasticClassifier(64, task.n_outputs)]


SPACE = ElasticSpace("small", blocks)
"""


def plugin(home: Path, source: str) -> Path:
    """A folder that, on PYTHONPATH, adds the space "small" to hwnas, as an installed package would."""
    info = home / "killed_space-1.dist-info"
    info.mkdir(parents=True)
    (home / "killed_space.py").write_text(source)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: killed-space\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[hwnas.spaces]\nsmall = killed_space:SPACE\n")
    return home


@dataclass
class Search:
    """One `hwnas search`, in as many processes as it takes.

    Attributes:
        options: of the command line, without `--out` and `--resume`.
        out: the run folder.
        env: of the processes.
    """

    options: Sequence[str]
    out: Path
    env: dict[str, str]

    def start(self) -> subprocess.Popen[bytes]:
        """Begin or, if there is something to resume, go on."""
        resume = ["--resume"] if (self.out / "config.json").exists() else []
        command = [sys.executable, "-uc", "from hwnas.cli.main import main; main()", "search", *self.options]
        command += ["--out", str(self.out), *resume]
        with self.log.open("wb") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env=self.env, start_new_session=True)

    @property
    def log(self) -> Path:
        """What the last process said."""
        return self.out.with_suffix(".log")

    def run(self) -> float:
        """Let it run to its end; the seconds."""
        start, process = time.monotonic(), self.start()
        try:
            code = process.wait(WAIT_S)
        finally:
            _kill(process)
        if code != 0:
            raise SystemExit(f"the search failed:\n{self.log.read_text()}")
        return time.monotonic() - start

    def works(self) -> bool:
        """Whether the last process has everything loaded and the run folder locked."""
        return "run folder: " in self.log.read_text()

    def phase(self) -> str:
        """Where the last process stood."""
        said = self.log.read_text()
        found = re.findall(r"^([a-z ]+) \(\d+ steps\)$", said, flags=re.MULTILINE)
        if found:
            return "end" if "next: " in said else str(found[-1])
        return "begin" if self.works() else "start"

    def finished_trials(self) -> list[str]:
        """Ids of the candidates whose evaluation is in the journal."""
        return finished_trials(self.out / "study.journal")

    def finished_models(self) -> dict[str, bytes]:
        """Manifests of the models that are whole."""
        return {path.parent.name: path.read_bytes() for path in self.out.glob("models/*/manifest.json")}

    def half_written(self) -> bool:
        """Whether a file is being written at this moment."""
        places = [self.out, *self.out.glob("models/*"), *self.out.glob("predictors/*")]
        return any(name.endswith(".part") for place in places for name in _names(place))

    def journal_bytes(self) -> int:
        """Size of the journal."""
        path = self.out / "study.journal"
        return path.stat().st_size if path.exists() else 0

    def front(self) -> list[dict[str, Any]]:
        """The front without what a clock says of it."""
        models = json.loads((self.out / "front.json").read_text())["models"]
        for model in models:
            for entry in model["latency_ms"].values():
                entry.pop("measured")
            model.pop("energy_mj")
        return list(models)

    def trials(self) -> list[dict[str, Any]]:
        """What the report draws behind the front."""
        return trial_rows(self.out)

    def is_whole(self) -> bool:
        """Whether each file is there that a finished run has, and nothing half written beside."""
        left = [p.name for p in self.out.rglob(".*") if p.name != ".lock"]
        return (self.out / "report.html").exists() and not left


def _names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except OSError:
        return []


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:  # the number of one that has ended may be another's by now
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


# Waits for the moment to kill a process; what it waited for, or None if the process ended before.
Wait = Callable[[Search, subprocess.Popen[bytes]], str | None]


@dataclass
class Toll:
    """What the kills did.

    Attributes:
        phases: phase -> kills in it.
        moments: what was waited for -> kills.
        lost, repeated: trials.
        models_again: finished models that were made again.
        other_fronts, other_trials: searches that ended otherwise than the unbroken one.
        not_whole: searches that left a file out, or a half written one behind.
        failed: what a resumed search said instead of going on.
    """

    kills: int = 0
    searches: int = 0
    phases: Counter[str] = field(default_factory=Counter)
    moments: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    repeated: int = 0
    models_again: int = 0
    other_fronts: int = 0
    other_trials: int = 0
    not_whole: int = 0
    failed: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost, repeated or otherwise."""
        found = (self.lost, self.repeated, self.models_again, self.other_fronts, self.other_trials, self.not_whole)
        return not any(found) and not self.failed


def until(process: subprocess.Popen[bytes], it_comes: Callable[[], bool], step_s: float) -> bool:
    """Wait for something; False if the process ended before."""
    end = time.monotonic() + WAIT_S
    while process.poll() is None:
        if it_comes():
            return True
        time.sleep(step_s)
        if time.monotonic() > end:
            raise SystemExit("a search hangs")
    return False


def _outlives(process: subprocess.Popen[bytes], after_s: float) -> bool:
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        return True
    return False


def at_random(
    search: Search, process: subprocess.Popen[bytes], *, rng: np.random.Generator, start_s: float, piece_s: float
) -> str | None:
    """Wait for a random moment.

    Args:
        start_s: seconds of a start.
        piece_s: seconds of work that a process does at most before its moment comes.
    """
    kind = str(rng.choice(list(MOMENTS), p=list(MOMENTS.values())))
    in_start, share, size = rng.random() < IN_START, float(rng.random()), -1

    def it_comes() -> bool:
        nonlocal size
        if kind == "file":
            return search.half_written()
        if kind == "journal":
            before, size = size, search.journal_bytes()
            return 0 <= before < size
        return True

    came = (
        (in_start or until(process, search.works, 0.05))
        and _outlives(process, share * (start_s if in_start else piece_s))
        and until(process, it_comes, 0.0003)
    )
    return kind if came else None


def break_search(search: Search, toll: Toll, wait: Wait, *, kills: int) -> None:
    """Kill and resume a search until it ends, at most until there were `kills` kills in all, then let it end."""
    trials: list[str] = []
    models: dict[str, bytes] = {}
    while True:
        process = search.start()
        try:
            moment = None
            if toll.kills < kills:
                moment = wait(search, process)
            else:
                process.wait(WAIT_S)
        finally:
            _kill(process)
        if moment is not None:
            toll.kills += 1
            toll.phases[search.phase()] += 1
            toll.moments[moment] += 1
        found, made = search.finished_trials(), search.finished_models()
        toll.lost += len(set(trials) - set(found))
        toll.models_again += sum(made.get(name) != manifest for name, manifest in models.items())
        trials, models = found, made
        if moment is None:
            break
    toll.searches += 1
    toll.repeated += len(trials) - len(set(trials))
    if process.returncode != 0:
        toll.failed.append(search.log.read_text()[-2000:])


def compare(search: Search, unbroken: Search, toll: Toll) -> None:
    """Add to the toll what a broken search ended with otherwise than the unbroken one."""
    if not (search.out / "front.json").exists():
        toll.other_fronts += 1
        return
    toll.other_fronts += search.front() != unbroken.front()
    toll.other_trials += search.trials() != unbroken.trials()
    toll.not_whole += not search.is_whole()


def run(
    home: Path,
    *,
    kills: int,
    seed: int = 0,
    trials: int = 40,
    space: str = "small",
    device: str = "jetson",
    source: str = SPACE,
    wait: Wait | None = None,
) -> tuple[Toll, float, float]:
    """Kill searches; what it did, the seconds of the unbroken search, and those before it had loaded everything.

    Args:
        home: an empty folder.
        source: of the space "small".
        wait: for the moments to kill at; None: random ones.
    """
    paths = [str(plugin(home / "plugin", source)), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "HWNAS_CACHE": str(home / "cache")}
    options = ["--device", device, "--space", space, "--task", "digits", "--trials", str(trials)]
    unbroken = Search(options, home / "unbroken", env)
    whole_s = unbroken.run()
    print(f"unbroken: {whole_s:.1f} s, {len(unbroken.front())} models")
    start = time.monotonic()
    unbroken.run()  # finished: all that it does is to start
    start_s = time.monotonic() - start
    if wait is None:
        piece_s = PIECE * max(whole_s - start_s, 1.0)
        wait = partial(at_random, rng=np.random.default_rng(seed), start_s=start_s, piece_s=piece_s)
    toll = Toll()
    while toll.kills < kills:
        search = Search(options, home / f"broken-{toll.searches}", env)
        break_search(search, toll, wait, kills=kills)
        compare(search, unbroken, toll)
        print(toll, flush=True)
    return toll, whole_s, start_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--space", default="small")
    parser.add_argument("--device", default="jetson", help="one that is not measured: no two measured fronts are equal")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the run folders in this new folder")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as temporary:
        home = args.keep or Path(temporary)
        home.mkdir(parents=True, exist_ok=args.keep is None)
        start = time.monotonic()
        toll, whole_s, start_s = run(
            home,
            kills=args.kills,
            seed=args.seed,
            trials=args.trials,
            space=args.space,
            device=args.device,
        )
        minutes = (time.monotonic() - start) / 60
    figures = {
        "goal": {"kills": 100, "lost": 0, "repeated": 0, "other_fronts": 0},
        "search": {"device": args.device, "space": args.space, "task": "digits", "trials": args.trials},
        "seed": args.seed,
        "unbroken_s": round(whole_s, 1),
        "start_s": round(start_s, 1),
        "minutes": round(minutes, 1),
        "kills": toll.kills,
        "searches": toll.searches,
        "kills_by_phase": dict(toll.phases),
        "kills_by_moment": dict(toll.moments),
        "lost": toll.lost,
        "repeated": toll.repeated,
        "models_made_again": toll.models_again,
        "other_fronts": toll.other_fronts,
        "other_trials": toll.other_trials,
        "not_whole": toll.not_whole,
        "failed": toll.failed,
    }
    record("kill", "python benchmarks/search/kill.py", figures)


if __name__ == "__main__":
    main()

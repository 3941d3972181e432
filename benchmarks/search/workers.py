"""Several processes on one search: `python benchmarks/search/workers.py` writes benchmarks/results/<date>-workers.json.

    python benchmarks/search/workers.py [--workers 4] [--trials 40] [--evaluation 0.5] [--space mobilenet]

A PostgreSQL server of its own on 127.0.0.1 holds the study. An evaluation sleeps, because one on another machine would
leave this one idle too, and its result is a formula; proposals, predictions and the study are real. The figure is
evaluations a second from the first proposal to the last result, once all processes are ready, with `--trials` for each.

Then a worker is killed with SIGKILL in an evaluation: all trials must be done, each candidate once, what it had by
another. The figure is the time from the kill until another process has begun with that candidate.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from database import running_database
from record import record

from hwnas.core.candidate import Candidate
from hwnas.core.evaluation import Evaluation
from hwnas.devices.resolve import find_device
from hwnas.latency.library import find_predictors
from hwnas.plugins import load_plugin
from hwnas.search.budget import Budget, Scorer
from hwnas.search.claims import make_claims
from hwnas.search.describe import Describer
from hwnas.search.events import Silent
from hwnas.search.joint import JointSpace
from hwnas.search.loop import FrontTracker, Loop
from hwnas.search.study import SearchStudy

GOAL = 3.6


class Sleeping:
    """Takes its time, and writes when it began and ended with a candidate."""

    def __init__(self, joint: JointSpace, seconds: float, log: Path) -> None:
        self.joint, self.seconds, self.log = joint, seconds, log

    def write(self, event: str, candidate: str) -> None:
        with self.log.open("a") as file:
            file.write(json.dumps([os.getpid(), event, candidate, time.monotonic()]) + "\n")

    def evaluate(self, candidate: Candidate) -> Evaluation:
        self.write("begin", candidate.id)
        time.sleep(self.seconds)
        self.write("end", candidate.id)
        macs = self.joint.operations(candidate).macs
        return Evaluation(macs / (macs + 1e6), 100, "validation", candidate.compression.precision, "supernet", 0.0)


def take_part(url: str, name: str, space: str, sampler: str, trials: int, seconds: float, folder: Path) -> None:
    """One process: it says that it is ready, waits for the start, and searches."""
    device = find_device("jetson-nano")
    task = load_plugin("task", "digits")(None, input_shape=load_plugin("space", space).input_shape, seed=0)
    bound = load_plugin("space", space).for_task(task)
    joint = JointSpace(bound, task, ("fp32", "fp16"), device.channel_multiple, ())
    found = find_predictors(device, space=bound.name, input_shape=task.input_shape)
    budget = Budget({device.name: Scorer(joint, {precision: found[precision] for precision in joint.precisions})})
    evaluator = Sleeping(joint, seconds, folder / f"{name}.log")
    study = SearchStudy(
        joint,
        devices=(device.name,),
        sampler=sampler,
        seed=0,
        journal=folder / "unused",
        url=url,
        name=name,
        describe=Describer(budget).by_device(),
        claims=make_claims(url, name, print),
    )
    loop = Loop(study, budget, evaluator, Silent(), FrontTracker({device.name: (1e3, 0.9)}), 0, trials)
    (folder / f"{name}-{os.getpid()}.ready").touch()
    while not (folder / f"{name}.start").exists():
        time.sleep(0.01)
    evaluator.write("start", "")
    loop.run()
    study.close()


def events(folder: Path, name: str, event: str) -> list[tuple[int, str, float]]:
    log = folder / f"{name}.log"
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return [(pid, candidate, at) for pid, what, candidate, at in rows if what == event]


def begin(args: argparse.Namespace, url: str, name: str, count: int, trials: int, folder: Path) -> list[Any]:
    words = ["--part", name, "--url", url, "--folder", str(folder), "--trials", str(trials)]
    words += ["--evaluation", str(args.evaluation), "--space", args.space, "--sampler", args.sampler]
    parts = [subprocess.Popen([sys.executable, __file__, *words]) for _ in range(count)]
    while len(list(folder.glob(f"{name}-*.ready"))) < count:
        assert all(part.poll() is None for part in parts), "a process has ended"
        time.sleep(0.05)
    (folder / f"{name}.start").touch()
    return parts


def throughput(args: argparse.Namespace, url: str, count: int, folder: Path) -> dict[str, Any]:
    name = f"throughput-{count}"
    trials = args.trials * count
    for part in begin(args, url, name, count, trials, folder):
        assert part.wait() == 0
    ended = events(folder, name, "end")
    ids = [candidate for _, candidate, _ in ended]
    took_s = max(at for *_, at in ended) - min(at for *_, at in events(folder, name, "start"))
    shares = [sum(pid == one for pid, *_ in ended) for one in sorted({pid for pid, *_ in ended})]
    return {
        "processes": count,
        "evaluations": len(ids),
        "evaluated_twice": len(ids) - len(set(ids)),
        "evaluations_of_each": shares,
        "seconds": round(took_s, 2),
        "evaluations_a_second": round(len(ids) / took_s, 3),
    }


def killed(args: argparse.Namespace, url: str, folder: Path) -> dict[str, Any]:
    name, trials = "killed", 10 * args.workers
    parts = begin(args, url, name, args.workers, trials, folder)
    victim = parts[0]
    while [pid for pid, *_ in events(folder, name, "begin")].count(victim.pid) < 3:
        time.sleep(0.01)
    victim.send_signal(signal.SIGKILL)
    at_s = time.monotonic()
    for part in parts[1:]:
        assert part.wait() == 0
    begun, ended = events(folder, name, "begin"), events(folder, name, "end")
    lost = {c for pid, c, _ in begun if pid == victim.pid} - {c for pid, c, _ in ended if pid == victim.pid}
    again = [at for pid, candidate, at in begun if candidate in lost and pid != victim.pid]
    ids = [candidate for _, candidate, _ in ended]
    return {
        "evaluations_wanted": trials,
        "evaluations": len(ids),
        "evaluated_twice": len(ids) - len(set(ids)),
        "lost": len(lost - set(ids)),
        "interrupted": len(lost),
        "taken_up_after_s": [round(at - at_s, 2) for at in again],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--evaluation", type=float, default=0.5)
    parser.add_argument("--space", default="mobilenet")
    parser.add_argument("--sampler", default="tpe")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        take_part(args.url, args.part, args.space, args.sampler, args.trials, args.evaluation, args.folder)
        return
    with tempfile.TemporaryDirectory() as name, running_database() as database:
        folder = Path(name)
        rows = [throughput(args, database.url, count, folder) for count in (1, args.workers)]
        time.sleep(10)  # claims are not taken over while the server is young
        kill = killed(args, database.url, folder)
    factor = round(rows[1]["evaluations_a_second"] / rows[0]["evaluations_a_second"], 2)
    figures = {"goal": GOAL, "factor": factor, "load": os.getloadavg(), "rows": rows, "killed": kill}
    setting = {"evaluation_s": args.evaluation, "space": args.space, "sampler": args.sampler}
    record("workers", "python benchmarks/search/workers.py", {**setting, **figures})


if __name__ == "__main__":
    main()

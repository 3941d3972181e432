"""A whole search: predictors, supernet, study, finishing, measuring, front."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hwnas.accuracy.supernet import SupernetEvaluator
from hwnas.accuracy.trained import TrainedEvaluator
from hwnas.core.candidate import Candidate
from hwnas.core.front import Front
from hwnas.core.predictor import LatencyPredictor
from hwnas.core.space import SearchSpace
from hwnas.core.task import Task
from hwnas.elastic.space import ElasticSpace
from hwnas.elastic.train import Progress, load_supernet, train_supernet
from hwnas.runtimes.cpu_flags import needs_reduced_range, read_cpu_flags
from hwnas.search.budget import Budget, Scorer
from hwnas.search.config import SearchConfig
from hwnas.search.effort import SEARCH_SHARE, Clock, Effort, finish_seconds, plan_effort
from hwnas.search.events import Listener, Silent
from hwnas.search.finish import Finished, Finisher, finishing_order
from hwnas.search.frontier import assemble, measure_finished, still_wanted
from hwnas.search.loop import FrontTracker, Loop
from hwnas.search.result import SearchResult
from hwnas.search.runfolder import RunFolder
from hwnas.search.setup import PREDICTORS, Setup, find_parts, find_predictor_set, freeze
from hwnas.search.study import Evaluated, SearchStudy
from hwnas.store import read_front, write_atomic, write_json

__all__ = ["SearchResult", "run_search"]


def run_search(
    config: SearchConfig,
    listener: Listener | None = None,
    *,
    space: SearchSpace | None = None,
    task: Task | None = None,
) -> SearchResult:
    """Search, finish and verify; everything is written to the run folder as soon as it is known.

    Args:
        config: what to search for.
        listener: is told of each step.
        space: used instead of `config.space`.
        task: used instead of `config.task`.
    Raises:
        HwnasError: whatever is wrong with the settings, the data or the device, in one line.
    """
    listener = listener or Silent()
    try:
        return _Run(config, listener, space, task).run()
    finally:
        listener.done()


@dataclass
class _Run:
    config: SearchConfig
    listener: Listener
    given_space: SearchSpace | None
    given_task: Task | None

    def run(self) -> SearchResult:
        folder = RunFolder.open(self.config, label=_label(self.config)) if self.config.resume else None
        if folder is not None:
            self.config = folder.config
        clock = Clock.starting_now(self.config.time_s)
        setup = find_parts(self.config, self.given_space, self.given_task)
        kept = None if folder is None else folder.path / PREDICTORS
        predictors = find_predictor_set(setup, kept, self.config.seed, self.listener)
        budget = self._budget(setup, predictors)
        if folder is None:
            folder = RunFolder.open(self.config, label=_label(self.config))
        with folder.locked():
            self.config = folder.config
            freeze(predictors, folder.path / PREDICTORS)
            ids = {precision: predictor.card.id for precision, predictor in predictors.items()}
            folder.check_same({**setup.facts(), "predictors": ids})
            if folder.is_finished and self._has_all_trials(folder, setup):
                self.listener.note(f"the run in {folder.path} is finished; nothing is left to do")
                return SearchResult(folder.path, read_front(folder.path))
            self.listener.note(_opening(setup, predictors, folder.path))
            front = self._search(folder, setup, budget, clock)
        self.listener.done()
        return SearchResult(folder.path, front)

    def _budget(self, setup: Setup, predictors: dict[str, LatencyPredictor]) -> Budget:
        budget = Budget(Scorer(setup.joint, predictors), self.config.max_latency_ms, self.config.max_size_mb)
        import numpy as np

        budget.require_feasible(np.random.default_rng(self.config.seed))
        return budget

    def _study(self, folder: RunFolder, setup: Setup) -> SearchStudy:
        return SearchStudy(
            setup.joint,
            sampler=self.config.sampler,
            seed=self.config.seed,
            journal=folder.journal,
            url=self.config.storage,
            name="hwnas" if self.config.storage is None else f"hwnas-{folder.path.name}",
        )

    def _has_all_trials(self, folder: RunFolder, setup: Setup) -> bool:
        wanted = self.config.trials_wanted
        return wanted is None or len(self._study(folder, setup).evaluated) >= wanted

    def _search(self, folder: RunFolder, setup: Setup, budget: Budget, clock: Clock) -> Front:
        effort = _kept_effort(folder, plan_effort(self.config, setup.joint, setup.task, clock), clock)
        study = self._study(folder, setup)  # opened first: a damaged study must not cost a training
        evaluator = self._evaluator(folder, setup, effort)
        reference = _reference(budget)
        tracker = FrontTracker(reference)
        share = clock.share(SEARCH_SHARE if setup.space.weight_shared else 0.8)
        deadline = Clock.starting_now(share).end_s
        self.listener.phase("search", self.config.trials_wanted)
        loop = Loop(
            study, budget, evaluator, self.listener, tracker, self.config.seed, self.config.trials_wanted, deadline
        )
        records = loop.run()
        _write_trials(folder.path, records)
        finisher = Finisher(
            evaluator,
            setup.task,
            setup.runtime,
            folder.path,
            read_cpu_flags() if setup.device.is_local else frozenset(),
            effort.finish_epochs,
            self.config.seed,
        )
        finished = self._finish(finisher, finishing_order(records, self.config.n_front), budget, clock)
        measured = measure_finished(finished, setup, folder.path, self.listener)
        front = assemble(finished, measured, budget, setup, reference, seed=self.config.seed)
        write_json(folder.path / "front.json", front.to_json())
        result = SearchResult(folder.path, front)
        result.report()
        return front

    def _evaluator(self, folder: RunFolder, setup: Setup, effort: Effort) -> SupernetEvaluator | TrainedEvaluator:
        if not isinstance(setup.space, ElasticSpace):
            return TrainedEvaluator(
                setup.space,
                setup.task,
                epochs=effort.epochs_alone,
                seed=self.config.seed,
                folder=folder.path / "trained",
            )
        torch.manual_seed(self.config.seed)
        net = setup.space.supernet(setup.task)
        self._train(net, folder, setup, effort)
        load_supernet(net, folder.path)
        bits = 7 if setup.device.is_local and needs_reduced_range(read_cpu_flags()) else 8
        return SupernetEvaluator(
            net,
            setup.space.largest(),
            setup.task,
            multiple=setup.device.channel_multiple,
            limit=effort.validation_limit,
            weight_bits=bits,
        )

    def _train(self, net: Any, folder: RunFolder, setup: Setup, effort: Effort) -> None:
        shown = 0

        def on_step(progress: Progress) -> None:
            nonlocal shown
            now = int(progress.share * 1000)
            if now > shown:
                self.listener.advance(now - shown, epoch=progress.epoch, loss=progress.loss)
                shown = now

        self.listener.phase("train the supernet", 1000)
        train_supernet(net, setup.space, setup.task, effort.training, folder=folder.path, on_step=on_step)

    def _finish(
        self, finisher: Finisher, order: Sequence[Evaluated], budget: Budget, clock: Clock
    ) -> list[tuple[Evaluated, Finished]]:
        """Finish the front, then whatever else it takes to have `n_front` models that no other one beats."""
        wanted = self.config.n_front
        self.listener.phase("finish", wanted)
        finished: list[tuple[Evaluated, Finished]] = []
        for record in order:
            kept = still_wanted(finished)
            if len(kept) >= wanted or len(finished) >= 2 * wanted:
                break
            if len(finished) >= wanted and clock.left_s is not None and clock.left_s < 10:
                break
            made = finisher.finish(record.candidate, stop_after_s=finish_seconds(clock, wanted, finished))
            finished.append((record, made))
            if len(still_wanted(finished)) > len(kept):
                self.listener.advance(1, model=made.candidate.id, accuracy=made.test.accuracy)
        return finished


def _label(config: SearchConfig) -> str:
    parts = [config.devices[0], config.space or "", config.task]
    return "-".join(part for part in parts if part).replace("/", "_")


def _opening(setup: Setup, predictors: dict[str, LatencyPredictor], path: Path) -> str:
    cards = [predictor.card for predictor in predictors.values()]
    covered = setup.space.name in cards[0].spaces
    doubt = "" if covered else f"; not fitted on {setup.space.name}, so its figures are out of domain"
    errors = ", ".join(
        f"{card.precision} {card.mape * 100:.1f} %" if card.mape is not None else f"{card.precision} unknown"
        for card in cards
    )
    size = setup.space.size
    return (
        f"{setup.task.name} on {setup.device.title}: space {setup.space.name} ({size:,} architectures), "
        f"latency predicted (held-out error {errors}{doubt}), run folder {path}"
    )


def _reference(budget: Budget) -> tuple[float, float]:
    """The bad corner: a fifth slower than the largest network at its slowest precision, and guessing."""
    joint = budget.scorer.joint
    values = dict(joint.values(Candidate(joint.space.largest())))
    largest = [joint.candidate(values | {"precision": precision}) for precision in joint.precisions]
    slowest_ms = max(budget.scorer.predict(candidate).latency_ms for candidate in largest)
    return 1.2 * slowest_ms, 1 - 1 / joint.task.n_outputs


def _kept_effort(folder: RunFolder, planned: Effort, clock: Clock) -> Effort:
    """Training goes on with the settings that it began with, also if the time that is left is another."""
    from dataclasses import replace

    path = folder.path / "supernet.json"
    if not path.exists() or planned.training.time_s is None:
        return planned
    began = json.loads(path.read_text())["settings"]
    return replace(planned, training=replace(planned.training, time_s=began["time_s"]))


def _write_trials(folder: Path, records: Sequence[Evaluated]) -> None:
    """What the report draws behind the front; the study itself stays in the journal."""
    rows = [
        {
            "id": record.candidate.id,
            "latency_ms": record.latency_ms,
            "accuracy": record.accuracy,
            "in_domain": record.in_domain,
        }
        for record in records
        if record.accuracy is not None
    ]
    write_atomic(folder / "trials.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())

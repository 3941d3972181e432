"""The end of a search: finish models, measure them, and where the predictor was wrong, learn and search on."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from hwnas.compress.twins import read_twins, write_twins
from hwnas.core.candidate import Candidate
from hwnas.core.front import Front
from hwnas.core.measurement import MEASUREMENTS, Measurement, latest_measurements, measurement_lines
from hwnas.core.predictor import LatencyPredictor, Prediction
from hwnas.elastic.threads import threads_for
from hwnas.errors import MeasurementError, RuntimeExportError, TrainingError
from hwnas.export.verify import compare
from hwnas.latency.calibrate import learn_from
from hwnas.latency.predictor import LinearGpPredictor
from hwnas.search.actors import Actors
from hwnas.search.config import SearchConfig
from hwnas.search.describe import Describer
from hwnas.search.effort import Clock, Effort, closer_share, search_share
from hwnas.search.evaluated import Evaluated, write_trials
from hwnas.search.events import Listener
from hwnas.search.finish import Finished, Finisher, NetworkSource, finishing_order
from hwnas.search.finishing import Finishing, make_finisher
from hwnas.search.frontier import assemble, measure_finished, model_of
from hwnas.search.ladder import Ladder
from hwnas.search.loop import Loop
from hwnas.search.per_device import folder_of
from hwnas.search.result import SearchResult
from hwnas.search.roundlog import RoundLog
from hwnas.search.setup import PREDICTORS, THREADS, Setup
from hwnas.search.targets import Targets
from hwnas.store import write_atomic, write_json, write_original

__all__ = ["Rounds"]

MORE_ROUNDS = 2  # after the first, each with a predictor that learned from the models measured before
KEPT_SHARE = 0.9  # of the measured models lie in their intervals, if these are as wide as they should be
MORE_TRIALS = 0.2  # of those of the first round
_LEAST_LEFT_S = 30.0  # of a given time, for another round
TWINS_S = 5.0  # after a given time, for the accuracies of uncompressed models

ByDevice = dict[str, dict[str, Measurement]]  # device -> id -> measurement


@dataclass
class Rounds:
    """Finishes and measures the front of a search, and searches on while its predictions do not hold.

    Each model keeps the prediction that it was chosen by: what was learned from its measurement is no promise of it.

    Attributes:
        folder: of the run.
        source: trained networks.
        loop: of the first round; its budget is replaced in further ones.
        clock: ends further rounds, and fine-tuning.
        reference: device -> the bad corner of its hypervolume.
        actors: look closer at candidates and finish models on a cluster; None: that is done here.
        original: what all models are compared with, if there is such a network: it is exported and measured like them,
            also if it is over a budget, and `original.json` says what came out.
    """

    config: SearchConfig
    listener: Listener
    targets: Targets
    folder: Path
    source: NetworkSource
    loop: Loop
    effort: Effort
    clock: Clock
    reference: Mapping[str, tuple[float, float]]
    actors: Actors | None = None
    original: Candidate | None = None
    _finished: list[tuple[Evaluated, Finished]] = field(default_factory=list)
    _measured: ByDevice = field(default_factory=dict)
    _latest: ByDevice = field(default_factory=dict)
    _log: RoundLog = field(init=False)
    _ladder: Ladder = field(init=False)

    def __post_init__(self) -> None:
        asked = {"trials": self.config.trials_wanted, "n_front": self.config.n_front}
        self._log = RoundLog.open(self.folder, asked)
        pool = None if self.actors is None else self.actors.looking_closer()
        self._ladder = Ladder(self.loop.evaluator, self.folder, self.listener, pool)

    def run(self, records: Sequence[Evaluated]) -> Front:
        """The front; it is written after each round.

        Args:
            records: what the search evaluated.
        Raises:
            TrainingError, RuntimeExportError: no model at all could be finished.
        """
        finisher = make_finisher(
            *(self.source, self.targets, self.folder, self.effort, self.config.seed, self.targets.cpu_flags)
        )
        front = self._round(1, finisher, records, self.config.n_front)
        for number in range(2, 2 + MORE_ROUNDS):
            learned = self._learn(number)
            if not learned or not self._goes_on(learned):
                break
            records = self._search_on(learned, number)
            front = self._round(number, finisher, records, max(2, self.config.n_front // 2))
        self._log.end()
        return front

    def _round(self, number: int, finisher: Finisher, records: Sequence[Evaluated], wanted: int) -> Front:
        closer_s = self.clock.share(closer_share(self.targets.first.space))
        records = self._ladder.climb(records, Clock.starting_now(closer_s))
        write_trials(self.folder, records)
        earlier = self._done_before(number, finisher, records)
        finished, self._latest = earlier or self._finished_now(finisher, records, wanted)
        self._finished += finished
        self._measured = _together(self._measured, self._latest)
        kept = _together(_measured_before(self.folder), self._measured)
        lines = measurement_lines(found for of_device in kept.values() for found in of_device.values())
        write_atomic(self.folder / MEASUREMENTS, lines)
        self._log.end_round(number, self.loop.study.n_worked, [made.candidate.id for _, made in finished])
        front = assemble(
            self._finished, self._measured, self.loop.budget, self.targets, self.reference, seed=self.config.seed
        )
        if self.original is not None and (made := finisher.known(self.original)) is not None:
            write_original(self.folder, model_of(made, self.loop.budget, self.targets.devices, kept))
        write_json(self.folder / "front.json", front.to_json())
        self._read_twins(front)
        SearchResult(self.folder, front).report()
        return front

    def _read_twins(self, front: Front) -> None:
        """Read the accuracy of what the front's models would be uncompressed, for the report to compare.

        It costs an evaluation each, with the weights that they inherit; of networks that are trained alone nothing is
        read, and of the user's own all is compared with the original.
        """
        space = self.targets.first.space
        if not space.weight_shared or space.of_one_network:
            return
        evaluator, known = self.loop.evaluator.closer() or self.loop.evaluator, read_twins(self.folder)
        left_s = self.clock.left_s
        until_s = math.inf if left_s is None else time.monotonic() + max(left_s, TWINS_S)
        for model in front.models:
            twin = Candidate(model.architecture)
            if model.compression != twin.compression and twin.id not in known and time.monotonic() < until_s:
                with suppress(TrainingError):  # not finite: then it is not known
                    known[twin.id] = evaluator.evaluate(twin).accuracy
        write_twins(self.folder, known)

    def _finished_now(
        self, finisher: Finisher, records: Sequence[Evaluated], wanted: int
    ) -> tuple[list[tuple[Evaluated, Finished]], ByDevice]:
        """The models of a round, and their measurements on each device that can be reached."""
        done = {made.candidate for _, made in self._finished}
        order = finishing_order([self._as_measured(record) for record in records], self.config.n_front)
        order = [record for record in order if record.candidate not in done]
        joint, pool = self.loop.budget.joint, None if self.actors is None else self.actors.finishing(finisher)
        finishing = Finishing(finisher, joint, self.effort, self.clock, self.listener, pool)
        finished = finishing.run(order, wanted, needed=not self._finished)
        models = [made for _, made in finished]
        if (original := self._finish_original(finisher)) is not None and original.candidate not in done:
            models = [original, *(made for made in models if made.candidate != original.candidate)]
        latest = {
            setup.device.name: measure_finished(
                models, setup, self.folder, self.listener, phase=f"measure{self._on(setup.device.name)}"
            )
            for setup in self.targets.setups
        }
        return finished, latest

    def _finish_original(self, finisher: Finisher) -> Finished | None:
        if self.original is None:
            return None
        try:
            return finisher.finish(self.original, epochs=0)
        except RuntimeExportError as error:
            self.listener.note(f"the original is not compared: {error}")
            return None

    def _done_before(
        self, number: int, finisher: Finisher, records: Sequence[Evaluated]
    ) -> tuple[list[tuple[Evaluated, Finished]], ByDevice] | None:
        """The same, if an earlier session ended the round and its files are whole."""
        done = self._log.done(number)
        if done is None:
            return None
        by_id = {record.candidate.id: record for record in records}
        pairs = [(by_id[name], finisher.known(by_id[name].candidate)) for name in done.models if name in by_id]
        finished = [(record, made) for record, made in pairs if made is not None]
        if len(finished) < len(done.models):
            return None
        before = _measured_before(self.folder)
        latest = {
            device: {name: found[name] for name in done.models if name in (found := before.get(device, {}))}
            for device in self.targets.devices
        }
        return finished, latest

    def _learn(self, number: int) -> dict[str, Mapping[str, LatencyPredictor]]:
        """Predictors of each device that learned from the models measured last; the front is written already.

        Args:
            number: of the round that they are for.
        """
        before, home = self._log.done(number - 1), self.folder / f"{PREDICTORS}-{number}"
        if before is not None and before.learned:
            return {
                device: {
                    p: LinearGpPredictor.load(folder_of(home, device, self.targets.devices) / p) for p in precisions
                }
                for device, precisions in before.learned.items()
            }
        shutil.rmtree(home, ignore_errors=True)  # frozen in part, by a session that was killed then
        found = {setup.device.name: self._learn_of(setup) for setup in self.targets.setups}
        return {device: learned for device, learned in found.items() if learned}

    def _learn_of(self, setup: Setup) -> Mapping[str, LatencyPredictor]:
        measured = self._as_predicted_for(setup.device.name)
        if not measured:
            return {}
        try:
            learned, said = learn_from(
                setup.device, setup.space, setup.task, measured, threads=THREADS, seed=self.config.seed
            )
        except MeasurementError as error:
            learned, said = {}, [f"nothing is learned from the measured models: {error}"]
        for sentence in said:
            self.listener.note(sentence)
        return learned

    def _as_predicted_for(self, device: str) -> list[Measurement]:
        """What was measured last, without files that have layers in fp32: predicted was int8 throughout."""
        mixed = {made.candidate.id for _, made in self._finished if made.share_in_fp32 > 0}
        return [found for name, found in self._latest[device].items() if name not in mixed]

    def _goes_on(self, devices: Iterable[str]) -> bool:
        """Whether too many of the models measured last missed their intervals, and there is time for another round."""
        missed = [said for device in devices if (said := self._missed(device))]
        if not missed:
            return False
        left_s = self.clock.left_s
        more = left_s is None or left_s >= _LEAST_LEFT_S
        then = "the search goes on with what was learned" if more else "no time is left; the next search knows"
        self.listener.note(f"{', '.join(missed)}: {then}")
        return more

    def _missed(self, device: str) -> str:
        """How many of a device's models were not as fast as promised, in words; empty if few enough."""
        scorer = self.loop.budget.scorers[device]
        found = [
            compare(scorer.predict(measurement.candidate), measurement)
            for measurement in self._as_predicted_for(device)
            if measurement.stable is not False
        ]
        missed = [check for check in found if not check.kept]
        if len(missed) <= (1 - KEPT_SHARE) * len(found):
            return ""
        return f"{len(missed)} of {len(found)} models are not as fast as predicted{self._on(device)}"

    def _on(self, device: str) -> str:
        return f" on {device}" if len(self.targets.setups) > 1 else ""

    def _search_on(self, learned: Mapping[str, Mapping[str, LatencyPredictor]], number: int) -> list[Evaluated]:
        """More trials by the new predictors, and all records as they see them."""
        self.targets.freeze(learned, self.folder / f"{PREDICTORS}-{number}")
        kept = [made.candidate for _, made in self._finished]
        before = self.loop.budget.scorers
        scorers = {device: scorer.learned(learned.get(device, {}), kept=kept) for device, scorer in before.items()}
        if all(isinstance(predictor, LinearGpPredictor) for of in learned.values() for predictor in of.values()):
            self._log.learn(number - 1, {device: tuple(of) for device, of in learned.items()})
        study, done = self.loop.study, self._log.done(number - 1)
        share = self.clock.share(search_share(self.targets.first.space))
        wanted = study.n_worked if done is None else done.n_trials
        wanted += max(1, round(MORE_TRIALS * wanted))
        self.listener.phase("search on", wanted)
        deadline = Clock.starting_now(share).end_s
        budget = replace(self.loop.budget, scorers=scorers)
        study.describe_by(Describer(budget).by_device())
        self.loop = replace(self.loop, budget=budget, n_trials=wanted, deadline_s=deadline)
        with threads_for(self.effort.batch_macs):
            records = self.loop.run()
        return [_as_predicted(record, budget.predict(record.candidate)) for record in records]

    def _as_measured(self, record: Evaluated) -> Evaluated:
        measured = {device: found.get(record.candidate.id) for device, found in self._measured.items()}
        seen = {device: one.percentile_ms(10) for device, one in measured.items() if one is not None}
        return replace(record, latency_ms={**record.latency_ms, **seen})


def _as_predicted(record: Evaluated, found: Mapping[str, Prediction]) -> Evaluated:
    return replace(
        record,
        latency_ms={device: prediction.latency_ms for device, prediction in found.items()},
        in_domain={device: prediction.in_domain for device, prediction in found.items()},
    )


def _measured_before(folder: Path) -> ByDevice:
    """The measurements that the run folder holds; a file that is damaged holds none."""
    try:
        return latest_measurements(folder / MEASUREMENTS)
    except MeasurementError:
        return {}


def _together(before: ByDevice, later: ByDevice) -> ByDevice:
    return {device: before.get(device, {}) | later.get(device, {}) for device in {**before, **later}}

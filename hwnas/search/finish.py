"""Finishing: the front's candidates become trained, exported, checked files."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from hwnas.accuracy.recalibrate import recalibrate
from hwnas.compress.aware import train_aware
from hwnas.compress.distill import FineTuneResult, fine_tune, logits_of
from hwnas.core.candidate import Candidate
from hwnas.core.evaluation import Evaluation
from hwnas.core.graph_record import MIXED
from hwnas.core.pareto import is_non_dominated, spread_out
from hwnas.core.runtime import Runtime
from hwnas.core.task import Split, Task
from hwnas.elastic.data import batch_for, batches, device_of
from hwnas.errors import RunFolderError, SchemaError
from hwnas.export.bundle import (
    MANIFEST,
    SCHEMA,
    artifacts_of,
    by_class,
    calibration_samples,
    export_bundle,
    right_answers,
)
from hwnas.export.verify import verify_file
from hwnas.runtimes.cpu_flags import needs_reduced_range
from hwnas.search.evaluated import Evaluated
from hwnas.search.loop import costs_of
from hwnas.store import inside, read_json

__all__ = ["Finished", "Finisher", "NetworkSource", "finishing_order"]

# A network that was fine-tuned on small images sees this many whole ones last.
WHOLE_IMAGES = 256
# What an int8 model's training with rounding gets of the epochs and of the time, and of the learning rate.
AWARE_SHARE, AWARE_RATE = 0.25, 0.1
TOLERATED_LOSS = 0.005  # of accuracy at int8: what loses more is calibrated in other ways, too
RECALIBRATION_IMAGES = 128


class NetworkSource(Protocol):
    """What finishing needs of an evaluator."""

    def network(self, candidate: Candidate) -> nn.Module:
        """The best weights known for a candidate, on the CPU in eval mode, at full precision."""

    def teacher(self) -> nn.Module | None:
        """The network that teaches in distillation; None: labels alone teach."""

    def is_final(self, candidate: Candidate) -> bool:
        """Whether the weights are to be taken as they are: nothing is fine-tuned."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A model whose file exists.

    Attributes:
        candidate: what it is.
        manifest: of its bundle.
        test: accuracy of the file on the test split.
        validation: accuracy of the file on the validation split.
    """

    candidate: Candidate
    manifest: dict[str, Any]
    test: Evaluation
    validation: Evaluation

    @property
    def share_in_fp32(self) -> float:
        """Of the multiply-adds of an int8 file, those of layers that stayed in fp32 because accuracy needed it."""
        return float(self.manifest.get(MIXED, {}).get("share_of_macs", 0.0))


def finishing_order(records: Sequence[Evaluated], count: int) -> list[Evaluated]:
    """The fronts' candidates, `count` evenly spread ones first, then the rest of them, then what lies just behind.

    Devices take turns, each with its own front; a candidate that is on several counts once. Of candidates with one and
    the same latency (cells that are mirror images, say) only the most accurate counts.
    """
    worked = [record for record in records if record.accuracy is not None]
    fronts = {device: _layers(worked, device, 3 * count) for device in (worked[0].latency_ms if worked else ())}
    chosen = _share_out({device: layers[0] for device, layers in fronts.items()}, count)
    rest = []
    for device, (front, *layers) in fronts.items():
        spread = [[*_spread(layer, device, count), *layer] for layer in layers]
        rest.append(_first_met([*front, *chain.from_iterable(spread)]))
    return _first_met([*_in_turn(list(chosen.values())), *_in_turn(rest)])


def _layers(records: Sequence[Evaluated], device: str, least: int) -> list[list[Evaluated]]:
    """The front of a device, the front of what is left, and so on, until they hold `least` candidates."""
    best: dict[float, Evaluated] = {}
    for record in records:
        place = float(f"{record.latency_ms[device]:.6g}")
        best[place] = max(best.get(place, record), record, key=lambda r: (r.accuracy or 0.0, -r.number))
    rest, layers = list(best.values()), list[list[Evaluated]]()
    while rest and sum(len(layer) for layer in layers) < least:
        keep = is_non_dominated(costs_of(rest, device))
        layers.append([record for record, ok in zip(rest, keep, strict=True) if ok])
        rest = [record for record, ok in zip(rest, keep, strict=True) if not ok]
    return layers


def _spread(layer: Sequence[Evaluated], device: str, count: int) -> list[Evaluated]:
    return [layer[index] for index in sorted(spread_out(costs_of(layer, device), count))]


def _share_out(fronts: Mapping[str, list[Evaluated]], count: int) -> dict[str, list[Evaluated]]:
    """What is chosen of each front, so that it is `count` candidates together: the devices take one more in turn."""
    chosen: dict[str, list[Evaluated]] = {device: [] for device in fronts}
    for share in range(1, count + 1):
        for device, front in fronts.items():
            if len({record.number for found in chosen.values() for record in found}) < count:
                chosen[device] = _spread(front, device, share)
    return chosen


def _in_turn(orders: Sequence[Sequence[Evaluated]]) -> list[Evaluated]:
    """The first of each, the second of each, and so on."""
    return _first_met([record for turn in zip_longest(*orders) for record in turn if record is not None])


def _first_met(records: Iterable[Evaluated]) -> list[Evaluated]:
    """Each candidate once."""
    found: dict[int, Evaluated] = {}
    for record in records:
        found.setdefault(record.number, record)
    return list(found.values())


@dataclass
class Finisher:
    """Fine-tunes, exports and reads the accuracy of candidates; a finished one is not done again.

    Attributes:
        source: trained networks.
        task: its test split is read here, and nowhere else.
        runtime: exports and runs.
        others: further runtimes, each of which exports and runs a file of its own.
        folder: the run folder.
        cpu_flags: of the target's CPU.
        seed: of fine-tuning.
        learning_rate: of fine-tuning.
        teacher_shrink: the teacher sees images whose sides are divided by it: those that it learned from, if they are
            large enough to be finished on.
        may_mix: whether an int8 file that loses too much may have layers in fp32; its latency must then be measured,
            for no predictor knows such files.
    """

    source: NetworkSource
    task: Task
    runtime: Runtime
    folder: Path
    cpu_flags: frozenset[str]
    seed: int
    learning_rate: float = 2e-3
    teacher_shrink: int = 1
    others: tuple[Runtime, ...] = ()
    may_mix: bool = False
    _small: dict[int, Task] = field(default_factory=dict)
    _logits: Tensor | None = None
    _has_teacher: bool = False

    @property
    def batch_size(self) -> int:
        """Samples a step on whole images."""
        return self._batch_size(self.task)

    def _batch_size(self, task: Task) -> int:
        """Few where there are few samples, so that there are steps enough, or where images are large."""
        return 16 if len(self.task.train) < 4000 else max(16, batch_for(task.train, 128))

    def finish(
        self, candidate: Candidate, *, epochs: int, shrink: int = 1, stop_after_s: float | None = None
    ) -> Finished:
        """Make one model, or read it back if an earlier session made it.

        Args:
            epochs: of fine-tuning, at most.
            shrink: it is fine-tuned on images whose sides are divided by this, and after that on a few whole ones.
            stop_after_s: seconds after which fine-tuning takes no further step; 0: there is none.
        Raises:
            RuntimeExportError: the runtime refused the model.
            TrainingError: the loss is not finite.
        """
        made = self.known(candidate)
        if made is not None:
            return made
        # Without time, or in a network that is to stay as it is, there is nothing to learn, and nobody to ask.
        if stop_after_s == 0 or self.source.is_final(candidate):
            epochs = 0
        if epochs > 0 and not self._has_teacher:
            self._logits, self._has_teacher = self._taught(), True
        start, precision = time.monotonic(), candidate.compression.precision
        is_aware = precision == "int8" and epochs > 0
        plain_s = (1 - AWARE_SHARE) * stop_after_s if is_aware and stop_after_s is not None else stop_after_s
        tuned = self._tuned(self.source.network(candidate), epochs, shrink, plain_s)
        aware_s = None if stop_after_s is None else max(0.0, stop_after_s - tuned.seconds)
        aware = self._aware(tuned.model, epochs, shrink, aware_s) if is_aware else None
        manifest = export_bundle(
            tuned.model if aware is None else aware.model,
            candidate,
            self.task,
            runtime=self.runtime,
            precision=precision,
            folder=self.folder,
            cpu_flags=self.cpu_flags,
            others=self.others,
            extra={
                "fine_tuning": {
                    "epochs": tuned.epochs,
                    "distilled": epochs > 0 and self._logits is not None,
                    "validation_accuracy_before": tuned.initial_accuracy,
                    "validation_accuracy_after": tuned.accuracy,
                    "image_shrink": shrink,
                    "seed": self.seed,
                    "quantization_aware": aware
                    and {
                        "epochs": aware.epochs,
                        "simulated_accuracy_before": aware.initial_accuracy,
                        "simulated_accuracy_after": aware.accuracy,
                    },
                }
            },
            read_accuracy=lambda path, runtime, split: self._accuracies(path, runtime, split, precision, start),
            least_validation=tuned.accuracy - TOLERATED_LOSS,
            may_mix=self.may_mix,
        )
        return self._finished(candidate, manifest)

    def _taught(self) -> Tensor | None:
        """What the teacher says of the training split."""
        teacher = self.source.teacher()
        if teacher is None:
            return None
        task = self._shrunk(self.teacher_shrink)
        return logits_of(teacher if self.teacher_shrink == 1 else _recalibrated(teacher, task), task)

    def _shrunk(self, factor: int) -> Task:
        if factor not in self._small:
            self._small[factor] = self.task.shrunk(factor)
        return self._small[factor]

    def _tuned(self, network: nn.Module, epochs: int, shrink: int, stop_after_s: float | None) -> FineTuneResult:
        """Fine-tune on images of the given size; whole images have the last word, since the file is run on them.

        Source: Touvron et al., Fixing the train-test resolution discrepancy, NeurIPS 2019.
        """
        if shrink == 1 or epochs == 0:
            return self._fine_tuned(network, self.task, self._logits, epochs, stop_after_s)
        small = self._shrunk(shrink)
        learned = self._fine_tuned(_recalibrated(network, small), small, self._logits, epochs, stop_after_s)
        train = self.task.train
        some = np.random.default_rng(self.seed).permutation(len(train))[:WHOLE_IMAGES]
        task = replace(self.task, train=Split(train.inputs[some], train.labels[some]))
        logits = None if self._logits is None else self._logits[some]
        whole = self._fine_tuned(_recalibrated(learned.model, self.task), task, logits, 1, stop_after_s)
        return replace(whole, initial_accuracy=learned.initial_accuracy, epochs=learned.epochs)

    def _aware(self, network: nn.Module, epochs: int, shrink: int, stop_after_s: float | None) -> FineTuneResult | None:
        """Train an int8 model on, rounded, with whole images: as many as small ones would have been in the time."""
        if stop_after_s == 0:
            return None
        train, logits = self.task.train, self._logits
        some = np.random.default_rng(self.seed).permutation(len(train))[: max(WHOLE_IMAGES, len(train) // shrink**2)]
        task = replace(self.task, train=Split(train.inputs[some], train.labels[some])) if shrink > 1 else self.task
        return train_aware(
            network,
            task,
            torch.from_numpy(calibration_samples(self.task)),
            weight_bits=7 if needs_reduced_range(self.cpu_flags) else 8,
            epochs=max(1, round(AWARE_SHARE * epochs)),
            lr=AWARE_RATE * self.learning_rate,
            batch_size=self._batch_size(task),
            teacher=logits if logits is None or shrink == 1 else logits[some],
            seed=self.seed,
            stop_after_s=stop_after_s,
        )

    def _fine_tuned(
        self, network: nn.Module, task: Task, logits: Tensor | None, epochs: int, stop_after_s: float | None
    ) -> FineTuneResult:
        return fine_tune(
            network,
            task,
            epochs=epochs,
            lr=self.learning_rate,
            batch_size=self._batch_size(task),
            teacher=logits,
            seed=self.seed,
            stop_after_s=stop_after_s,
        )

    def _accuracies(self, path: Path, runtime: Runtime, name: str, precision: str, start: float) -> dict[str, Any]:
        """Accuracy of the file on a split, as blocks of the manifest; of the test split also by class."""
        split = self.task.test if name == "test" else self.task.validation
        right = right_answers(path, runtime, split, self.task.preprocessing, 1)
        seconds = time.monotonic() - start
        read = Evaluation(float(right.mean()), len(split), name, precision, "deployed-file", seconds)
        found: dict[str, Any] = {name: read.to_json()}
        if name == "test":
            found["test_by_class"] = by_class(right, split.labels, self.task.n_outputs)
        return found

    def _finished(self, candidate: Candidate, manifest: dict[str, Any]) -> Finished:
        blocks = manifest["accuracy"]
        test, validation = Evaluation.from_json(blocks["test"]), Evaluation.from_json(blocks["validation"])
        return Finished(candidate, manifest, test, validation)

    def known(self, candidate: Candidate) -> Finished | None:
        """The model, if an earlier session finished it and its file is as it was."""
        path = self.folder / "models" / candidate.id / MANIFEST
        if not path.exists():
            return None
        try:
            manifest = read_json(path, schema=SCHEMA)
            for artifact in artifacts_of(manifest):
                verify_file(inside(self.folder, artifact["path"]), artifact["sha256"])
            return self._finished(candidate, manifest)
        except (RunFolderError, SchemaError, KeyError, TypeError):
            return None  # half-made or damaged: made again


def _recalibrated(network: nn.Module, task: Task) -> nn.Module:
    """With the batch-norm statistics of images of the task's size."""
    walk = batches(task.train, task.preprocessing, 64, device=device_of(network), limit=RECALIBRATION_IMAGES)
    return recalibrate(network, [inputs for inputs, _ in walk])

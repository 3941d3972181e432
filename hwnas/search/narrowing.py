"""Which ratios a search over a supernet prunes its stages by: those that its largest network stands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hwnas.compress.sensitivity import SENSITIVITY, Sensitivity, measure_sensitivity
from hwnas.core.candidate import Candidate
from hwnas.core.compression import CompressionPlan
from hwnas.core.evaluation import Evaluation, Evaluator
from hwnas.core.task import Task
from hwnas.elastic.space import ElasticSpace
from hwnas.errors import RunFolderError, SchemaError, TrainingError
from hwnas.search.budget import Budget
from hwnas.search.events import Listener
from hwnas.search.joint import JointSpace

__all__ = ["known_sensitivity", "narrowed", "stage_sensitivity"]


def stage_sensitivity(
    folder: Path, joint: JointSpace, task: Task, evaluator: Evaluator, listener: Listener, most_s: float | None = None
) -> Sensitivity | None:
    """Accuracy of a supernet's largest network with one stage pruned, for each stage and ratio.

    It is read once for a supernet; the run folder keeps it. None: the space has no supernet, nothing is pruned, there
    is no time for it, or the network gives no finite answers.

    Args:
        task: its validation split tells what guessing is worth.
        evaluator: reads accuracies with the supernet's weights.
        most_s: about how long it may take; None: no limit.
    """
    ratios = _ratios(joint)
    if not any(ratios.values()):
        return None
    if (known := known_sensitivity(folder, joint)) is not None:
        return known
    largest, precision = joint.space.largest(), joint.precisions[0]

    def read(cut: Mapping[str, float]) -> Evaluation:
        return evaluator.evaluate(Candidate(largest, CompressionPlan.of(precision, cut)))

    try:
        whole, n_steps = read({}), 1 + sum(map(len, ratios.values()))
        if most_s is not None and n_steps * whole.seconds > most_s:
            return None
        listener.phase("sensitivity", n_steps)
        found = measure_sensitivity(
            ratios,
            lambda cut: read(cut).accuracy if cut else whole.accuracy,
            guessing=task.validation.guessing,
            n=whole.n,
            precision=precision,
            on_step=lambda accuracy: listener.advance(accuracy=accuracy),
        )
    except TrainingError as error:
        listener.note(f"all ratios of pruning are searched, for it is not known what they cost: {error}")
        return None
    found.write(folder)
    return found


def known_sensitivity(folder: Path, joint: JointSpace) -> Sensitivity | None:
    """What an earlier session, or the searching process, found out about the same stages and ratios."""
    if not (folder / SENSITIVITY).exists() or not any(_ratios(joint).values()):
        return None
    try:
        found = Sensitivity.read(folder)
    except (RunFolderError, SchemaError):
        return None
    same = {stage: tuple(ratio for ratio, _ in pairs) for stage, pairs in found.stages.items()} == _ratios(joint)
    return found if same else None


def _ratios(joint: JointSpace) -> dict[str, tuple[float, ...]]:
    """What is tried of a space with a supernet."""
    if not isinstance(joint.space, ElasticSpace):
        return {}
    return {stage: joint.space.prune_ratios(stage)[1:] for stage in joint.stages}


def narrowed(budget: Budget, found: Sensitivity | None, *, seed: int) -> Budget:
    """The budget of a search that leaves out ratios that cost too much; itself, if its limits can then not be met."""
    if found is None:
        return budget
    fewer = budget.narrowed({stage: found.ratios(stage)[-1] for stage in found.stages})
    meets = not budget.limits or fewer.find(fewer.smallest(), np.random.default_rng(seed), seen=()) is not None
    return fewer if meets else budget

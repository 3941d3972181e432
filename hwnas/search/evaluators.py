"""Who says how accurate a candidate is: a supernet that is trained once, or training each candidate alone."""

from __future__ import annotations

import torch

from hwnas.accuracy.supernet import SupernetEvaluator
from hwnas.accuracy.trained import TrainedEvaluator
from hwnas.core.evaluation import Evaluator
from hwnas.core.task import Task
from hwnas.elastic.space import ElasticSpace
from hwnas.elastic.supernet import Supernet
from hwnas.elastic.train import Progress, load_supernet, train_supernet
from hwnas.search.cluster import Cluster
from hwnas.search.effort import Effort
from hwnas.search.events import Listener
from hwnas.search.finish import NetworkSource
from hwnas.search.runfolder import RunFolder
from hwnas.search.targets import Targets
from hwnas.search.trainers import train_on

__all__ = ["TRAINED", "make_evaluators", "weight_bits"]

TRAINED = "trained"  # weights of candidates that are trained alone, in the run folder


def make_evaluators(
    folder: RunFolder,
    targets: Targets,
    effort: Effort,
    listener: Listener,
    *,
    trained: bool = False,
    bits: int | None = None,
    cluster: Cluster | None = None,
) -> tuple[Evaluator, NetworkSource]:
    """Who compares candidates, and who gives the networks that are finished; a supernet is trained on the way.

    Args:
        trained: the supernet in the run folder is taken as it is.
        bits: of int8 weights; None: as the device's CPU needs it.
        cluster: where the supernet is trained; None: here.
    Raises:
        TrainingError: the supernet's loss is not finite.
        RunFolderError: the supernet in the run folder is damaged, or of another search.
        ClusterError: the cluster cannot be used.
    """
    seed, setup = folder.config.seed, targets.first
    if not isinstance(setup.space, ElasticSpace):
        home = folder.path / TRAINED
        alone = TrainedEvaluator(setup.space, setup.task, epochs=effort.epochs_alone, seed=seed, folder=home)
        return alone, alone
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = setup.space.supernet(setup.task)
    small = setup.task.shrunk(effort.shrink)
    if not trained:
        _train(net, folder, setup.space, small, effort, listener, cluster)
    load_supernet(net, folder.path)
    bits = weight_bits(targets) if bits is None else bits
    cheap, whole = (_evaluator(net, targets, task, effort, bits) for task in (small, setup.task))
    return cheap, whole


def weight_bits(targets: Targets) -> int:
    """Of int8 weights: 7 where the CPU of a device saturates, else 8."""
    return 7 if targets.saturates else 8


def _evaluator(net: Supernet, targets: Targets, task: Task, effort: Effort, bits: int) -> SupernetEvaluator:
    return SupernetEvaluator(
        net,
        targets.first.space.largest(),
        task,
        multiple=targets.joint.multiple,
        limit=effort.validation_limit,
        weight_bits=bits,
    )


def _train(
    net: Supernet,
    folder: RunFolder,
    space: ElasticSpace,
    task: Task,
    effort: Effort,
    listener: Listener,
    cluster: Cluster | None,
) -> None:
    shown = 0

    def on_step(progress: Progress) -> None:
        nonlocal shown
        now = int(progress.share * 1000)
        if now > shown:
            listener.advance(now - shown, epoch=progress.epoch, loss=progress.loss)
            shown = now

    listener.phase("train the supernet", 1000)
    course = (net, space, task, effort.training)
    if cluster is None:
        train_supernet(*course, folder=folder.path, on_step=on_step)
    else:
        train_on(cluster, *course, folder=folder.path, listener=listener, on_step=on_step)

"""Training a supernet: the sandwich rule with in-place distillation, checkpointed after every epoch.

Source: Yu and Huang, Universally Slimmable Networks, ICCV 2019 (sandwich rule, in-place distillation);
Yu et al., BigNAS, ECCV 2020 (the same for whole search spaces).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from hwnas.core.space import SearchSpace
from hwnas.core.task import Task
from hwnas.elastic.augment import augment
from hwnas.elastic.data import batches
from hwnas.elastic.supernet import Supernet
from hwnas.elastic.team import Team
from hwnas.errors import RunFolderError, TrainingError
from hwnas.store import write_atomic, write_json

__all__ = ["Progress", "TrainSettings", "is_over", "load_supernet", "position", "train_supernet"]

WEIGHTS = "supernet.safetensors"
REPORT = "supernet.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """How a supernet is trained.

    Attributes:
        epochs: passes through the training split.
        seed: of the order, the augmentation and the subnets that are drawn.
        time_s: if given, the learning rate follows the clock and training ends after so many seconds (of all its
            sessions together), or after `epochs` if these are done first.
        batch_size: samples a step.
        learning_rate: its peak; warm-up over the first 5 %, then a cosine to 0.
        weight_decay: of all weights.
        n_random: random subnets a step, beside the largest and the smallest.
        label_smoothing: of the largest network's targets.
        small_share: 0-1, the first part of the training, that sees images of half the side: on a CPU it makes about
            three times as many steps in the same time (progressive resizing; Tan and Le, EfficientNetV2, ICML 2021).
        teach_every: the largest network learns, and teaches the others, in every so manieth step; in the steps between,
            the others learn from the labels. Where the largest costs most of a step, this makes more of them.
    """

    epochs: int
    seed: int = 0
    time_s: float | None = None
    batch_size: int = 64
    learning_rate: float = 0.05
    weight_decay: float = 1e-4
    n_random: int = 2
    label_smoothing: float = 0.0
    small_share: float = 0.0
    teach_every: int = 1


@dataclass(frozen=True, slots=True)
class Progress:
    """Where training stands.

    Attributes:
        epoch: epochs done.
        share: 0-1 of the whole.
        loss: mean loss of the largest network over the last epoch.
        elapsed_s: training time of all sessions.
    """

    epoch: int
    share: float
    loss: float
    elapsed_s: float


class _Clock:
    """Seconds of training, earlier sessions included, and the learning rate that follows from them.

    It stands still until it is read again, which all processes of a team must do at the same step: it is rank 0's.
    """

    def __init__(
        self, settings: TrainSettings, steps_per_epoch: int, earlier_s: float, team: Team | None = None
    ) -> None:
        self.settings, self.per_epoch, self.team = settings, max(1, steps_per_epoch), team or Team()
        self.start, self.elapsed_s = time.monotonic() - earlier_s, earlier_s

    def read(self) -> None:
        self.elapsed_s = self.team.agree(time.monotonic() - self.start)

    def share(self, step: int) -> float:
        by_steps = step / (self.per_epoch * max(1, self.settings.epochs))
        limit = self.settings.time_s
        return min(1.0, by_steps if limit is None else max(by_steps, self.elapsed_s / max(limit, 1e-9)))

    def learning_rate(self, step: int) -> float:
        share = self.share(step)
        warm_up = min(1.0, max(share / 0.05, 0.05))
        return self.settings.learning_rate * min(warm_up, 0.5 * (1 + math.cos(math.pi * share)))


def train_supernet(
    net: Supernet,
    space: SearchSpace,
    task: Task,
    settings: TrainSettings,
    *,
    folder: Path | None = None,
    on_step: Callable[[Progress], None] | None = None,
    team: Team | None = None,
) -> Progress:
    """Train in place, going on from the checkpoint in `folder` if there is one.

    An epoch that was interrupted is done again from its start, with the same random numbers, so that an interrupted
    training gives the same weights as an unbroken one (unless `time_s` sets the end).

    Args:
        folder: of checkpoints, which rank 0 of a team writes; all its processes must begin with the same one.
        team: the processes that train together, which call this with the same arguments; None: this one alone.
            Each normalises its part of a batch by the statistics of that part.
    Raises:
        TrainingError: a loss is not finite.
        ClusterError: another process of the team was lost.
        RunFolderError: the checkpoint is damaged, or was made with other settings.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net.to(device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(
        net.parameters(), lr=settings.learning_rate, momentum=0.9, nesterov=True, weight_decay=settings.weight_decay
    )
    at = _restore(net, optimizer, settings, folder)
    per_epoch = max(1, len(task.train) // settings.batch_size)
    team = team or Team()
    clock = _Clock(settings, per_epoch, at.elapsed_s, team)
    while not is_over(at, settings):
        team.align(net)
        loss = _epoch(net, space, task, settings, optimizer, clock, at.epoch * per_epoch, on_step)
        step = (at.epoch + 1) * per_epoch
        at = Progress(at.epoch + 1, clock.share(step), loss, clock.elapsed_s)
        if folder is not None and team.rank == 0:
            _save(net, optimizer, settings, at, folder)
    net.to("cpu")
    return at


def _epoch(
    net: Supernet,
    space: SearchSpace,
    task: Task,
    settings: TrainSettings,
    optimizer: torch.optim.Optimizer,
    clock: _Clock,
    step: int,
    on_step: Callable[[Progress], None] | None,
) -> float:
    """One pass through the training split; the mean loss of the largest network."""
    rng = np.random.default_rng([settings.seed, step])
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    device = next(net.parameters()).device
    losses: list[float] = []
    per_epoch = clock.per_epoch
    for inputs, labels in batches(
        task.train, task.preprocessing, settings.batch_size, shuffle=True, generator=generator, device=device
    ):
        for group in optimizer.param_groups:
            group["lr"] = clock.learning_rate(step)
        inputs = augment(inputs, task.augmentation, generator)
        if clock.share(step) < settings.small_share:
            inputs = F.avg_pool2d(inputs, 2)
        teaches = step % settings.teach_every == 0
        loss = _step(net, space, inputs, labels, settings, optimizer, rng, clock.team, teaches=teaches)
        if teaches or not losses:
            losses.append(loss)
        step += 1
        clock.read()
        if on_step is not None:
            on_step(Progress(step // per_epoch, clock.share(step), losses[-1], clock.elapsed_s))
        if settings.time_s is not None and clock.share(step) >= 1:
            break
    return float(np.mean(losses))


def _step(
    net: Supernet,
    space: SearchSpace,
    inputs: Tensor,
    labels: Tensor,
    settings: TrainSettings,
    optimizer: torch.optim.Optimizer,
    rng: np.random.Generator,
    team: Team,
    *,
    teaches: bool,
) -> float:
    """One sandwich: the largest learns the labels, the smallest and some random subnets learn from the largest.

    Without the largest they learn the labels; the loss is that of the first network.
    """
    optimizer.zero_grad(set_to_none=True)
    share, inputs, labels = len(team.part(labels)) / len(labels), team.part(inputs), team.part(labels)
    students = [space.smallest(), *[space.sample(rng) for _ in range(settings.n_random)]]
    networks = [space.largest(), *students] if teaches else students
    target, first = labels, math.nan
    for number, architecture in enumerate(networks):
        with torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=inputs.is_cuda):
            logits = net(inputs, dict(architecture))
            smoothing = settings.label_smoothing if teaches and number == 0 else 0.0
            loss = F.cross_entropy(logits.float(), target, label_smoothing=smoothing)
        loss.backward()  # type: ignore[no-untyped-call]
        if number == 0:
            first = loss.item()
            target = logits.detach().float().softmax(1) if teaches else labels
    first = team.average(net, first, share)
    if not math.isfinite(first):
        raise TrainingError(f"the supernet's loss is {first}; lower the learning rate or check the data for NaN")
    nn.utils.clip_grad_norm_(net.parameters(), 5.0 * len(networks))
    optimizer.step()
    return first


def _momenta(net: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, nn.Parameter, Tensor | None]]:
    for name, parameter in net.named_parameters():
        yield f"momentum.{name}", parameter, optimizer.state.get(parameter, {}).get("momentum_buffer")


def _save(net: Supernet, optimizer: torch.optim.Optimizer, settings: TrainSettings, at: Progress, folder: Path) -> None:
    tensors = {f"weight.{name}": parameter.detach() for name, parameter in net.named_parameters()}
    tensors |= {name: buffer for name, _, buffer in _momenta(net, optimizer) if buffer is not None}
    # The safetensors header holds what a resume needs, so that weights and position are one atomic file.
    header = {key: repr(value) for key, value in (*asdict(at).items(), *asdict(settings).items())}
    dense = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    write_atomic(folder / WEIGHTS, save(dense, metadata=header))
    report = {"schema": 1, **asdict(at), "finished": is_over(at, settings), "settings": asdict(settings)}
    write_json(folder / REPORT, report)


def is_over(at: Progress, settings: TrainSettings) -> bool:
    """Whether nothing is left to train."""
    return at.epoch >= settings.epochs or at.share >= 1


def position(settings: TrainSettings, folder: Path | None) -> Progress:
    """Where the training in a folder stands.

    Raises:
        RunFolderError: the checkpoint is damaged, or was made with other settings.
    """
    return _checkpoint(settings, folder)[0]


def _checkpoint(settings: TrainSettings, folder: Path | None) -> tuple[Progress, dict[str, Tensor]]:
    path = None if folder is None else folder / WEIGHTS
    if path is None or not path.exists():
        return Progress(0, 0.0, math.nan, 0.0), {}
    header, tensors = _read(path)
    stale = [key for key, value in asdict(settings).items() if header.get(key) != repr(value)]
    if stale:
        raise RunFolderError(f"{path} was trained with other {', '.join(stale)}; search into a new --out")
    figures = [float(header[name]) for name in ("share", "loss", "elapsed_s")]
    return Progress(int(header["epoch"]), *figures), tensors


def _restore(net: Supernet, optimizer: torch.optim.Optimizer, settings: TrainSettings, folder: Path | None) -> Progress:
    at, tensors = _checkpoint(settings, folder)
    if folder is not None and tensors:
        _load_weights(net, tensors, folder / WEIGHTS)
    for name, parameter, _ in _momenta(net, optimizer):
        if name in tensors:
            optimizer.state[parameter]["momentum_buffer"] = tensors[name].to(parameter.device)
    return at


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:
        raise RunFolderError(f"{path} is damaged ({error}); delete it to train the supernet again") from error


def _load_weights(net: Supernet, tensors: dict[str, Tensor], path: Path) -> None:
    own = dict(net.named_parameters())
    found = {name.removeprefix("weight."): value for name, value in tensors.items() if name.startswith("weight.")}
    if found.keys() != own.keys() or any(found[name].shape != own[name].shape for name in own):
        raise RunFolderError(f"{path} belongs to another space or task; search into a new --out")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(found[name])


def load_supernet(net: Supernet, folder: Path) -> Supernet:
    """Load the weights that `train_supernet` left in `folder` into `net`.

    Raises:
        RunFolderError: there are none, they are damaged, or they belong to another space or task.
    """
    path = folder / WEIGHTS
    if not path.exists():
        raise RunFolderError(f"{path} does not exist; the supernet was not trained yet")
    _load_weights(net, _read(path)[1], path)
    return net

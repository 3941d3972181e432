"""Training a supernet on a cluster: each process sees a part of every batch, and the run folder gets every epoch."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from hwnas.core.space import SearchSpace
from hwnas.core.task import Task
from hwnas.elastic.supernet import Supernet
from hwnas.elastic.team import GlooTeam, Team, processes_for
from hwnas.elastic.train import REPORT, WEIGHTS, Progress, TrainSettings, is_over, position, train_supernet
from hwnas.errors import ClusterError
from hwnas.search.cluster import Cluster
from hwnas.search.events import Listener
from hwnas.search.resident import (
    LEAVE_S,
    MOST_LOSSES,
    PATIENCE_S,
    Files,
    Reply,
    Resident,
    error_of,
    read_files,
    write_files,
)

__all__ = ["Trainer", "train_on"]

LOOK_S = 0.5  # between two looks at how far training is
GATHER_S = 60.0  # for the processes to begin: those that need longer do without

OnStep = Callable[[Progress], None]


@dataclass(frozen=True)
class Course:
    """What a process needs to train; Ray keeps it once on each machine.

    Attributes:
        net: with the weights that training begins with, if there is no checkpoint.
        space: whose subnets are trained.
        task: with the data.
        settings: of the training.
        checkpoint: its files, if there is one.
    """

    net: Supernet
    space: SearchSpace
    task: Task
    settings: TrainSettings
    checkpoint: Files


@dataclass(frozen=True)
class Seat:
    """Who a process is, and where it listens until it is known who is rank 0."""

    name: str
    host: str
    port: int


class Trainer(Resident):
    """One process of a team. It is asked how far it is while it trains."""

    at: Progress | None = None

    def _take(self, kit: Course) -> Seat:
        import ray

        write_files(self.folder, kit.checkpoint)
        self.course, host = kit, str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]
        self.door = socket.create_server((host, 0))
        return Seat(self.name, host, self.door.getsockname()[1])

    def train(self, rank: int, size: int, meeting: tuple[str, int]) -> Reply:
        """Train to the end with the others, who meet at the seat of rank 0."""
        torch.set_num_threads(self.n_threads)  # of this thread
        return self._replying(lambda: self._train(rank, size, meeting))

    def _train(self, rank: int, size: int, meeting: tuple[str, int]) -> None:
        host, door = self.door.getsockname()[0], self.door if rank == 0 and size > 1 else None
        if door is None:
            self.door.close()
        # Kept until this process ends, since the others may still listen to it.
        self.team = Team() if size == 1 else GlooTeam(rank, size, meeting, host, door)
        course = self.course
        train_supernet(
            *(course.net, course.space, course.task, course.settings),
            folder=self.folder,
            on_step=self._stand,
            team=self.team,
        )

    def _stand(self, at: Progress) -> None:
        self.at = at

    def look(self, epoch: int) -> Reply:
        """How far training is; the files are the last checkpoint, if that is of a later epoch."""
        report = read_files(self.folder, [REPORT])  # is written after the weights, which are as new at least
        is_new = bool(report) and _epoch_of(report) > epoch
        return Reply(self.at, files=read_files(self.folder, [WEIGHTS]) | report if is_new else None)


def train_on(
    cluster: Cluster,
    net: Supernet,
    space: SearchSpace,
    task: Task,
    settings: TrainSettings,
    *,
    folder: Path,
    listener: Listener,
    on_step: OnStep,
) -> None:
    """Like `train_supernet` with the processes of a cluster; the trained weights are in the folder afterwards.

    When a process is lost, all begin anew where the last epoch that is in the folder ended.

    Raises:
        TrainingError: a loss is not finite.
        RunFolderError: the checkpoint is damaged, or was made with other settings.
        ClusterError: the cluster cannot be used, or loses a process again and again.
    """
    at, losses = position(settings, folder), 0
    while not is_over(at, settings):
        course = Course(net, space, task, settings, read_files(folder, [WEIGHTS, REPORT]))
        trainers = _Trainers(cluster, course, folder, listener, on_step, at.epoch)
        try:
            lost = trainers.train()
        except cluster.ray.exceptions.RayTaskError:
            raise
        except (cluster.ray.exceptions.RayError, ConnectionError) as error:
            raise cluster.lost(error) from error
        finally:
            trainers.close()
        before, at = at, position(settings, folder)
        if lost is None:
            continue
        losses = 1 if at.epoch > before.epoch else losses + 1
        if losses >= MOST_LOSSES:
            raise ClusterError(
                f"{MOST_LOSSES} times processes on the cluster ended over epoch {at.epoch + 1} of the supernet (out of "
                "memory?); see Ray's logs, and go on with --resume"
            )
        listener.note(f"{lost} was lost; epoch {at.epoch + 1} of the supernet is trained again by others")


@dataclass
class _Trainers:
    """The processes that train until they are done, or one is lost."""

    cluster: Cluster
    course: Course
    folder: Path
    listener: Listener
    on_step: OnStep
    epoch: int  # the last one that is in the folder
    _actors: list[Any] = field(default_factory=list, init=False)
    _share: int = field(default=0, init=False)  # processes for which the cluster had room

    def train(self) -> str | None:
        """Train; the name of a process that was lost, or None."""
        ray, seats = self.cluster.ray, self._gather()
        if not seats:
            return "a process"
        (first, seat), size = next(iter(seats.items())), len(seats)
        self.listener.note(f"processes on the cluster that train the supernet: {size}")
        meeting = (seat.host, seat.port)
        names = {
            actor.train.remote(rank, size, meeting): f"process {seats[actor].name}" for rank, actor in enumerate(seats)
        }
        waiting = [*names]
        while waiting:
            ended, waiting = ray.wait(waiting, num_returns=1, timeout=LOOK_S)
            self._look(first)
            if any(self._fate(ref) != "done" for ref in ended):  # the others notice it at once
                more, _ = ray.wait(waiting, num_returns=len(waiting), timeout=LEAVE_S) if waiting else ([], [])
                return next((names[ref] for ref in [*ended, *more] if self._fate(ref) == "lost"), "a process")
        return None

    def close(self) -> None:
        """End the processes, and wait until the cluster has their CPUs again."""
        ray, actors = self.cluster.ray, self._actors
        if not actors:
            return
        try:
            ray.wait([actor.leave.remote() for actor in actors], num_returns=len(actors), timeout=LEAVE_S)
            for actor in actors:
                ray.kill(actor)
            end_s = time.monotonic() + LEAVE_S
            while self.cluster.share()[0] < self._share and time.monotonic() < end_s:
                time.sleep(0.05)
        except (ray.exceptions.RayError, ConnectionError):
            pass  # with the cluster, they are gone

    def _gather(self) -> Mapping[Any, Seat]:
        """Begin the processes; those that are there in time."""
        self.cluster.connect()
        self.cluster.check_versions()
        ray, course, settings = self.cluster.ray, self.course, self.course.settings
        self._share, each = self.cluster.share()
        home = None if self.cluster.home is None else str(self.cluster.home)
        made, kit = ray.remote(**each, max_concurrency=2)(Trainer), ray.put(course)
        for _ in range(processes_for(min(settings.batch_size, len(course.task.train)), self._share)):
            self._actors.append(made.remote(int(each["num_cpus"]), home))
        starting = {actor.prepare.remote([kit]): actor for actor in self._actors}
        seats = {}
        for ref in self._begun([*starting]):
            try:
                reply = ray.get(ref)
            except ray.exceptions.RayTaskError:
                raise
            except ray.exceptions.RayError:
                continue
            if reply.error is not None:
                raise error_of(reply.error)
            seats[starting[ref]] = reply.value
        for actor in {*self._actors} - {*seats}:
            ray.kill(actor)
        self._actors = [*seats]
        return seats

    def _begun(self, starting: list[Any]) -> list[Any]:
        """The processes that are there after a minute; if there are none, the first one."""
        ended, _ = self.cluster.ray.wait(starting, num_returns=len(starting), timeout=GATHER_S)
        if not ended:
            self.listener.note("waiting for the cluster: it has no room for a process yet")
            ended, _ = self.cluster.ray.wait(starting, num_returns=1, timeout=PATIENCE_S)
        if not ended:
            raise ClusterError(
                f"the cluster had no room for a process in {PATIENCE_S / 60:.0f} minutes; see `ray status`, and go on "
                "with --resume"
            )
        return list(ended)

    def _look(self, first: Any) -> None:
        """Bring the run folder, and whoever watches, up to date."""
        ray = self.cluster.ray
        try:
            reply = ray.get(first.look.remote(self.epoch))
        except ray.exceptions.RayTaskError:
            raise
        except ray.exceptions.RayError:
            return  # it was lost, as its training says
        if reply.files:
            write_files(self.folder, reply.files, within=(WEIGHTS, REPORT))
            self.epoch = _epoch_of(reply.files)
        if reply.value is not None:
            self.on_step(reply.value)

    def _fate(self, ref: Any) -> str:
        """Whether a process has trained to the end ("done"), was lost, or was left by another that was lost."""
        ray = self.cluster.ray
        try:
            reply = ray.get(ref)
        except ray.exceptions.RayTaskError:
            raise  # a fault of ours, or of the user's space
        except ray.exceptions.RayError:
            return "lost"
        if reply.error is None:
            return "done"
        if reply.error[0] == ClusterError.__name__:
            return "left"
        raise error_of(reply.error)


def _epoch_of(files: Files) -> int:
    return int(json.loads(files[REPORT])["epoch"])

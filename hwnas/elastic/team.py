"""Processes that train one network together: each sees a part of every batch, and all make the same steps."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, cast

import torch
from torch import Tensor, distributed, nn

from hwnas.errors import ClusterError

__all__ = ["LEAST_PART", "GlooTeam", "Team", "processes_for"]

LEAST_PART = 8  # samples of a batch that each process sees: batch norm learns little from fewer
PATIENCE_S = 300.0  # for the slowest of the others, in each exchange


class Team:
    """A process that trains alone.

    Attributes:
        rank: 0 is the process whose clock counts, and that keeps checkpoints.
        size: how many processes there are.
    """

    rank: int = 0
    size: int = 1

    def part(self, batch: Tensor) -> Tensor:
        """What this process sees of a batch: one of `size` pieces, about as long as the others."""
        return batch

    def average(self, net: nn.Module, loss: float, share: float) -> float:
        """Give each gradient its average over all processes.

        Args:
            net: whose gradients; the same of them must be there in all processes.
            loss: of this process.
            share: 0-1 of the batch that this process saw: its weight.
        Returns:
            The average loss, which is not finite if one is not.
        """
        return loss

    def agree(self, value: float) -> float:
        """The value that rank 0 gives."""
        return value

    def align(self, net: nn.Module) -> None:
        """Give each weight its value in rank 0."""


class GlooTeam(Team):
    """Several processes, on one machine or on several, that exchange gradients over TCP with Gloo.

    Gloo works on the CPU: gradients on a GPU are copied there and back, once a step.

    Args:
        rank: of this process.
        size: of the team, all of which must join.
        meeting: host and port on which rank 0 listens.
        host: address of this process, the only one on which it listens for the others.
        door: of rank 0: the socket that listens there; it is taken over.
    Raises:
        ClusterError: the others did not come.
    """

    def __init__(
        self, rank: int, size: int, meeting: tuple[str, int], host: str, door: socket.socket | None = None
    ) -> None:
        self.rank, self.size = rank, size
        limit, library = timedelta(seconds=PATIENCE_S), cast(Any, distributed)  # whose types lack what is used here

        def join() -> Any:
            # Given a socket, since a store of its own making would listen on all addresses; so would Gloo without host.
            handle = {} if door is None else {"master_listen_fd": door.detach()}
            store = library.TCPStore(*meeting, size, rank == 0, limit, wait_for_workers=False, **handle)
            gloo = library.ProcessGroupGloo
            options = gloo._Options()
            options._devices, options._timeout = [gloo.create_device(hostname=host)], limit
            return gloo(store, rank, size, options)

        self._group: Any = _together(join)

    def part(self, batch: Tensor) -> Tensor:
        """See Team."""
        return batch.tensor_split(self.size)[self.rank]

    def average(self, net: nn.Module, loss: float, share: float) -> float:
        """See Team; one exchange for all gradients and the loss."""
        gradients = [parameter.grad for parameter in net.parameters() if parameter.grad is not None]
        flat = _flat([*gradients, gradients[0].new_tensor(loss)]).mul_(share)
        _together(lambda: self._group.allreduce([flat]).wait())
        _fill(gradients, flat[:-1])
        return float(flat[-1])

    def agree(self, value: float) -> float:
        """See Team."""
        told = torch.tensor([value], dtype=torch.float64)
        self._tell(told)
        return float(told)

    def align(self, net: nn.Module) -> None:
        """See Team."""
        weights = [parameter.detach() for parameter in net.parameters()]
        flat = _flat(weights)
        self._tell(flat)
        _fill(weights, flat)

    def _tell(self, values: Tensor) -> None:
        """Overwrite the values with those of rank 0."""
        options = distributed.BroadcastOptions()
        options.rootRank = 0
        _together(lambda: self._group.broadcast([values], options).wait())


def processes_for(batch: int, most: int) -> int:
    """How many of `most` processes share a batch of so many samples, at least 1."""
    return max(1, min(most, batch // LEAST_PART))


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    """All elements of tensors in one vector on the CPU."""
    return torch.cat([tensor.flatten() for tensor in tensors]).cpu()


def _fill(tensors: Sequence[Tensor], flat: Tensor) -> None:
    """Write a vector back into tensors."""
    for tensor, part in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view(tensor.shape))


def _together(do: Callable[[], Any]) -> Any:
    try:
        return do()
    except RuntimeError as error:
        raise ClusterError("a process that trains with this one was lost, or cannot be reached") from error

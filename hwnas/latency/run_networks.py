"""The networks of a run as operations, and the predictors that it froze, from what its folder holds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from hwnas.core.candidate import Candidate
from hwnas.core.front import Front
from hwnas.core.ops import OpList
from hwnas.core.space import SearchSpace
from hwnas.core.task import TaskShape
from hwnas.devices.resolve import find_device
from hwnas.errors import HwnasError
from hwnas.latency.predictor import LinearGpPredictor
from hwnas.plugins import load_plugin
from hwnas.trace import operations

__all__ = ["RunNetworks"]


class RunNetworks:
    """Traces candidates as the search did; whatever is missing is said in words and not guessed.

    Args:
        run_dir: the run folder, whose `predictors*` folders hold the frozen predictors.
        front: of the run.
    """

    def __init__(self, run_dir: Path, front: Front) -> None:
        self._run_dir, self._front = run_dir, front
        self._frozen: dict[str, LinearGpPredictor] | None = None
        self._bound: dict[TaskShape, tuple[SearchSpace, int] | str] = {}

    def traced(self, candidate: Candidate, shape: TaskShape) -> tuple[OpList, tuple[str, ...]] | str:
        """Operations of a candidate, and for each segment the name of its stage; or why they are not known."""
        parts = self._parts(shape)
        if isinstance(parts, str):
            return parts
        space, multiple = parts
        try:
            network = operations(space, candidate, shape, multiple=multiple)
            return network, tuple(space.segment_names(candidate, multiple=multiple))
        except HwnasError as error:
            return str(error)

    def predictor(self, name: str) -> LinearGpPredictor | None:
        """A frozen predictor by its id."""
        return self._predictors().get(name)

    def predictor_like(self, name: str, precision: str) -> LinearGpPredictor | None:
        """The frozen predictor for another precision of the device and runtime that a predictor is of."""
        known = self.predictor(name)
        if known is None or known.card.precision == precision:
            return known
        wanted = (known.card.device, known.card.runtime, known.card.batch, known.card.threads, precision)
        for found in self._predictors().values():
            card = found.card
            if (card.device, card.runtime, card.batch, card.threads, card.precision) == wanted:
                return found
        return None

    def _parts(self, shape: TaskShape) -> tuple[SearchSpace, int] | str:
        """The space for an input, and the channel multiple of all devices; or why they are not known."""
        if shape not in self._bound:
            try:
                devices = [find_device(name) for name in self._front.devices]
                space: SearchSpace = load_plugin("space", self._front.space).for_task(shape)
                self._bound[shape] = (space, math.lcm(*(device.channel_multiple for device in devices)))
            except HwnasError as error:
                self._bound[shape] = str(error)
        return self._bound[shape]

    def _predictors(self) -> dict[str, LinearGpPredictor]:
        """Looked for when the first is asked for."""
        if self._frozen is None:
            self._frozen = {predictor.card.id: predictor for predictor in self._load()}
        return self._frozen

    def _load(self) -> Iterator[LinearGpPredictor]:
        for card in sorted(self._run_dir.glob("predictors*/**/card.json")):
            try:
                yield LinearGpPredictor.load(card.parent)
            except HwnasError:
                continue  # half-written or of another version: its id is then not there

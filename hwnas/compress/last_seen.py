"""Which layer of a network ran last: what a message names when a network fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

__all__ = ["LastSeen"]


class LastSeen:
    """Notes which layer of a network runs, to name it if it fails."""

    def __init__(self, network: nn.Module) -> None:
        self.network, self.layer, self._hooks = network, "the network itself", list[Any]()

    def __enter__(self) -> LastSeen:
        for name, module in self.network.named_modules():
            if name:
                self._hooks.append(module.register_forward_pre_hook(self._note(name, type(module).__name__)))
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _note(self, name: str, kind: str) -> Callable[[nn.Module, Any], None]:
        def note(module: nn.Module, inputs: Any) -> None:
            self.layer = f"{name!r} ({kind})"

        return note

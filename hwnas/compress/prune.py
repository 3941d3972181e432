"""Structured pruning: whole channels, heads and blocks of a trained network are cut out, wherever they run through.

Torch-Pruning's dependency graph says which layers those are. It is asked once; what it says is kept as plain indices,
so that one more pruned network costs a few slices of weights.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hwnas.compress.blocks import find_blocks, leave_out
from hwnas.compress.heads import HeadGroup, cut_heads, find_heads
from hwnas.compress.last_seen import LastSeen
from hwnas.compress.stages import find_stages
from hwnas.core.compression import is_ratio, kept_channels
from hwnas.core.error_text import first_line
from hwnas.errors import BuildError, ConfigError, InvalidArchitectureError, MissingDependencyError, nearest

__all__ = ["IMPORTANCES", "ChannelGroup", "Cut", "PrunableNetwork", "check_importance", "find_channels"]

IMPORTANCES = ("taylor", "magnitude")
_COMPARED = 2  # inputs on which heads that can go are found
_MOST = 0.999  # a ratio that leaves as little of a layer as there may be
Samples = Sequence[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Cut:
    """What a layer or a parameter loses with channels of a group.

    Attributes:
        name: dotted path in the network.
        prune: `(layer or parameter, indices)`: Torch-Pruning's function that cuts indices away.
        dim: of a parameter, along which it is cut.
        is_parameter: whether `name` is a parameter of its own, and not a layer.
        places: for each channel of the group, its indices in this layer.
    """

    name: str
    prune: Callable[[Any, list[int]], Any] = field(repr=False)
    dim: int
    is_parameter: bool
    places: tuple[tuple[int, ...], ...] = field(repr=False)


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that must be cut together in several layers.

    Attributes:
        name: of the first layer that has them, in the network's order.
        channels: how many there are.
        parts: they lie in so many equal parts, each of which loses the same places (groups of a convolution or of a
            norm, heads of attention); 1 where any channel can go.
        cuts: what is cut where.
        order: places within a part, the least important first.
    """

    name: str
    channels: int
    parts: int
    cuts: tuple[Cut, ...] = field(repr=False)
    order: tuple[int, ...] = field(repr=False)

    @property
    def makers(self) -> list[str]:
        """Names of the layers whose output the channels are."""
        return [cut.name for cut in self.cuts if not cut.is_parameter and _is_output(cut)]

    @property
    def readers(self) -> list[str]:
        """Names of the layers whose input they are."""
        return [cut.name for cut in self.cuts if not cut.is_parameter and not _is_output(cut)]

    def kept(self, ratio: float, multiple: int) -> int:
        """How many channels stay: a multiple of `multiple` where there are more than so many, and never none."""
        unit = multiple // math.gcd(multiple, self.parts)
        return kept_channels(self.channels // self.parts, ratio, unit) * self.parts

    def lost(self, kept: int) -> list[int]:
        """Which channels go, so that `kept` stay."""
        size = self.channels // self.parts
        places = self.order[: size - kept // self.parts]
        return sorted(part * size + place for part in range(self.parts) for place in places)


@dataclass(frozen=True)
class PrunableNetwork:
    """A trained network, and which of its channels can be cut.

    Attributes:
        network: in eval mode on the CPU; never changed.
        groups: its channel groups, in the network's order.
        stages: name -> places in `groups`; a ratio is given for each stage.
        blocks: sequence of blocks -> those that can be left out, in the network's order.
        heads: attention whose heads can go, in the network's order.
        left_whole: why channels that the graph knows, or heads, cannot be cut, a line each.
    """

    network: nn.Module = field(repr=False)
    groups: tuple[ChannelGroup, ...]
    stages: Mapping[str, tuple[int, ...]]
    blocks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    heads: tuple[HeadGroup, ...] = ()
    left_whole: tuple[str, ...] = ()

    def kept(self, ratios: Mapping[str, float], multiple: int, left_out: Sequence[str] = ()) -> tuple[int, ...]:
        """How many channels of each group stay; all of a group that goes with its block.

        Raises:
            InvalidArchitectureError: there is no such stage, or a ratio would leave nothing of it.
        """
        for stage, ratio in ratios.items():
            if stage not in self.stages:
                guess = nearest(stage, list(self.stages))
                hint = f" did you mean {guess!r}?" if guess else ""
                raise InvalidArchitectureError(f"no stage {stage!r};{hint} known: {', '.join(self.stages)}")
            if not is_ratio(ratio):
                raise InvalidArchitectureError(
                    f"a prune ratio of {ratio!r} empties the layers of stage {stage!r}; allowed: 0 to below 1"
                )
        kept = [group.channels for group in self.groups]
        for stage, ratio in ratios.items():
            for at in self.stages[stage]:
                if any(not _is_in(name, left_out) for name in self.groups[at].makers):
                    kept[at] = self.groups[at].kept(ratio, multiple)
        return tuple(kept)

    def pruned(
        self,
        ratios: Mapping[str, float],
        *,
        multiple: int = 8,
        left_out: Sequence[str] = (),
        heads: Mapping[str, int] | None = None,
    ) -> nn.Module:
        """A copy without the least important channels and heads, in eval mode; with nothing to cut an exact copy.

        Args:
            ratios: stage -> share of its channels that is cut; a stage that is not named stays whole.
            multiple: channel counts that remain are multiples of it.
            left_out: blocks that pass on what they are given.
            heads: name of an attention -> how many of its heads stay; one that is not named keeps all.
        Raises:
            InvalidArchitectureError: there is no such stage, or a ratio would leave nothing of it.
        """
        return self.cut_to(self.kept(ratios, multiple, left_out), left_out, heads or {})

    def cut_to(
        self, kept: Sequence[int], left_out: Sequence[str] = (), heads: Mapping[str, int] = MappingProxyType({})
    ) -> nn.Module:
        """A copy in which each group keeps so many channels, and attention so many heads, in eval mode; see `kept`."""
        # Heads go last: channels are cut by their places in the layers as they came, and leave heads side by side.
        cut = _cut(self.network, self.groups, kept)
        return leave_out(cut_heads(cut, self.heads, heads), left_out)


def check_importance(importance: str) -> None:
    """Raise ConfigError unless it is one of `IMPORTANCES`."""
    if importance not in IMPORTANCES:
        guess = nearest(importance, IMPORTANCES)
        hint = f"; did you mean {guess!r}?" if guess else ""
        raise ConfigError(f"importance must be one of {', '.join(IMPORTANCES)}, got {importance!r}{hint}")


def find_channels(
    network: nn.Module,
    input_shape: Sequence[int],
    *,
    multiple: int = 8,
    importance: str = "magnitude",
    samples: Samples = (),
) -> PrunableNetwork:
    """Find the channels, heads and blocks of a network that can be cut, and which channels and heads matter least.

    What enters the network and what leaves it stays whole. Channels without which the network does not run are left
    alone, and `left_whole` names them, as it names attention whose heads stay.

    Args:
        network: takes `n x input_shape`; not changed.
        multiple: channel counts that remain are multiples of it.
        importance: "magnitude": the squared weights of a channel in all its layers; "taylor": the first-order change
            of the loss without it. Of a head, both are of what is read of it.
        samples: normalised inputs and labels of the training split, a batch each; "taylor" needs them.
    Raises:
        ConfigError: an unknown importance, or "taylor" without samples.
        BuildError: the dependency graph cannot be made, or no channel can be cut; the message names the operation.
    Source: Fang et al., DepGraph: Towards Any Structural Pruning, CVPR 2023; Molchanov et al., Importance Estimation
        for Neural Network Pruning, CVPR 2019.
    """
    check_importance(importance)
    if importance == "taylor" and not samples:
        raise ConfigError("importance 'taylor' needs samples of the training split; pass them, or take 'magnitude'")
    own = copy.deepcopy(network).cpu().eval().requires_grad_(True)
    found = _groups_of(own, input_shape, importance, samples)
    frozen = copy.deepcopy(network).cpu().eval()
    outline = copy.deepcopy(frozen).to("meta")
    noise = torch.randn(_COMPARED, *input_shape, generator=torch.Generator().manual_seed(0))
    heads, reasons = find_heads(own, importance, samples[0][0][:_COMPARED].cpu() if samples else noise)
    whole = [*(one for one in found if isinstance(one, str)), *reasons]
    order = {name: at for at, (name, _) in enumerate(own.named_modules())}
    seen = LastSeen(outline)
    try:
        with seen:
            whole_shape = _output_shape(outline, input_shape)
    except Exception as error:  # a network of the user's may raise anything
        raise BuildError(
            f"the network cannot be followed without data: at {seen.layer}: {first_line(error)}; its forward must "
            "neither look at what tensors hold nor make some without device=x.device"
        ) from error
    groups = []
    for group in sorted((g for g in found if isinstance(g, ChannelGroup)), key=lambda g: order[g.name]):
        if group.kept(_MOST, multiple) == group.channels:
            continue  # narrower than the multiple
        if any(one.is_inside(cut.name, is_output=_is_output(cut)) for one in heads for cut in group.cuts):
            continue  # heads go whole, and their features with them
        reason = _breaks(outline, group, input_shape, multiple, whole_shape)
        if reason is None:
            groups.append(group)
        elif reason:
            whole.append(f"the channels of {group.name!r} stay: without some of them {reason}")
    if not groups:
        why = whole[0] if whole else _why_nothing(own, found, multiple)
        raise BuildError(f"nothing of the network can be pruned: {why}; give a network of plain layers")
    stages = find_stages([group.name for group in groups])
    coupled = [(group.makers, group.readers) for group in found if isinstance(group, ChannelGroup)]
    blocks = find_blocks(outline, coupled, input_shape)
    return PrunableNetwork(frozen, tuple(groups), stages, blocks, heads, tuple(whole))


def _why_nothing(network: nn.Module, found: Sequence[ChannelGroup | str], multiple: int) -> str:
    """Why no channel can be cut, where the graph complains of nothing."""
    known = {cut.name for group in found if isinstance(group, ChannelGroup) for cut in group.cuts}
    unknown = [
        f"{name!r} ({type(module).__name__})"
        for name, module in network.named_modules()
        if name not in known and any(p.ndim > 1 and len(p) > multiple for p in module.parameters(recurse=False))
    ]
    if unknown:
        return f"the dependency graph cannot follow {', '.join(unknown[:3])}{' and others' if unknown[3:] else ''}"
    return f"no layer has more than {multiple} channels that do not leave the network"


def _import_torch_pruning() -> Any:
    try:
        import torch_pruning
    except ImportError as error:
        raise MissingDependencyError("pruning a network needs: pip install torch-pruning") from error
    return torch_pruning


def _groups_of(
    network: nn.Module, input_shape: Sequence[int], importance: str, samples: Samples
) -> list[ChannelGroup | str]:
    """Every group of channels that the dependency graph finds, or why it stays; `network` gets gradients."""
    tp = _import_torch_pruning()
    seen = LastSeen(network)
    try:
        with warnings.catch_warnings(), torch.enable_grad(), seen:
            warnings.simplefilter("ignore")
            if not network(torch.zeros(1, *input_shape)).requires_grad:
                raise RuntimeError("what follows loses the gradient (detach, or no_grad)")
            graph = tp.DependencyGraph().build_dependency(network, (torch.zeros(1, *input_shape),), verbose=False)
            known = list(graph.get_all_groups())
    except Exception as error:  # the library and the network may raise anything
        raise BuildError(
            f"the dependency graph cannot take the network: at {seen.layer}: {first_line(error)}; "
            "a layer whose gradient cannot be followed, or whose forward does more than torch operations, cannot be cut"
        ) from error
    if importance == "taylor":
        _add_gradients(network, samples)
    score = (tp.importance.TaylorImportance if importance == "taylor" else tp.importance.MagnitudeImportance)()
    names = {module: name for name, module in network.named_modules()}
    parameters = {id(parameter): name for name, parameter in network.named_parameters()}
    return [_group_of(group, graph, score, names, parameters) for group in known]


def _group_of(
    group: Any, graph: Any, score: Any, names: Mapping[nn.Module, str], parameters: Mapping[int, str]
) -> ChannelGroup | str:
    """A group as plain indices, or why its channels stay."""
    channels, cuts, parts = len(group[0].idxs), [], 1
    root = f"the channels of {names[group[0].dep.target.module]!r} stay"
    for item in group:
        target, handler = item.dep.target, item.dep.handler
        is_parameter = isinstance(target.module, nn.Parameter)
        name = parameters.get(id(target.module)) if is_parameter else names.get(target.module)
        if name is None:
            continue  # an addition, a reshape: it has no weights
        if any(at is None for at in item.root_idxs):
            return f"{root}: what {name!r} reads of them cannot be told apart"
        places: list[list[int]] = [[] for _ in range(channels)]
        for place, at in zip(item.idxs, item.root_idxs, strict=True):
            places[at].append(int(place))
        cuts.append(Cut(name, handler, target.pruning_dim, is_parameter, tuple(map(tuple, places))))
        own_parts, total = _parts_of(target, graph.is_out_channel_pruning_fn(handler), graph)
        if own_parts > 1 and total != len(item.idxs):
            return f"{root}: {name!r} takes its channels in {own_parts} parts, of which they are a piece"
        parts = math.lcm(parts, own_parts)
    try:
        importance = score(group)
    except (IndexError, RuntimeError):  # places that a layer does not have
        return f"{root}: the graph loses them where a tensor is split"
    if channels % parts or importance is None:
        return f"{root}: {channels} do not come in {parts} equal parts"
    mean = torch.nan_to_num(importance[:channels].float()).view(parts, -1).mean(0)
    order = {name: at for at, name in enumerate(names.values())}
    # In an order of execution that the graph does not tell, the network's own order of layers is what people read.
    name = min((cut.name for cut in cuts if cut.name in order and _is_output(cut)), key=order.__getitem__)
    return ChannelGroup(name, channels, parts, tuple(cuts), tuple(mean.argsort(stable=True).tolist()))


def _is_in(name: str, blocks: Sequence[str]) -> bool:
    return any(name.startswith(f"{block}.") for block in blocks)


def _is_output(cut: Cut) -> bool:
    return "out_channels" in getattr(cut.prune, "__name__", "")


def _parts_of(node: Any, of_output: bool, graph: Any) -> tuple[int, int]:
    """In how many equal parts a layer takes its channels, and how many there are."""
    types = graph.ops.OPTYPE
    if node.type == types.MHA:
        return int(node.module.num_heads), int(node.module.embed_dim)
    if node.type not in (types.CONV, types.GN):
        return 1, 0  # a depthwise convolution has as many groups as channels, and loses both
    pruner = graph.get_pruner_of_module(node.module)
    if of_output:
        return int(pruner.get_out_channel_groups(node.module)), int(pruner.get_out_channels(node.module))
    return int(pruner.get_in_channel_groups(node.module)), int(pruner.get_in_channels(node.module))


def _add_gradients(network: nn.Module, samples: Samples) -> None:
    network.zero_grad(set_to_none=False)
    with torch.enable_grad():
        for inputs, labels in samples:
            try:
                functional.cross_entropy(network(inputs.cpu()), labels.cpu()).backward()  # type: ignore[no-untyped-call]
            except Exception as error:  # a network of the user's may raise anything
                raise BuildError(
                    f"the gradient of the loss cannot be computed: {first_line(error)}; is the network for this task?"
                ) from error
    for parameter in network.parameters():
        if parameter.grad is None:  # the loss does not depend on it
            parameter.grad = torch.zeros_like(parameter)


def _cut(network: nn.Module, groups: Sequence[ChannelGroup], kept: Sequence[int]) -> nn.Module:
    """A copy in which each group keeps so many channels."""
    cut = copy.deepcopy(network)
    going: dict[tuple[str, Any], tuple[Cut, set[int]]] = {}
    # A layer behind a concatenation loses channels of several groups: all at once, since indices are those of before.
    for group, count in zip(groups, kept, strict=True):
        lost = group.lost(count) if count < group.channels else []
        for one in group.cuts if lost else ():
            _, indices = going.setdefault((one.name, one.prune), (one, set()))
            indices.update(place for channel in lost for place in one.places[channel])
    for one, indices in going.values():
        one.prune.__self__.pruning_dim = one.dim  # type: ignore[attr-defined]
        if one.is_parameter:
            home, _, leaf = one.name.rpartition(".")
            setattr(cut.get_submodule(home), leaf, one.prune(cut.get_parameter(one.name), sorted(indices)))
        else:
            one.prune(cut.get_submodule(one.name), sorted(indices))
    return cut


def _output_shape(outline: nn.Module, input_shape: Sequence[int]) -> tuple[int, ...]:
    with torch.no_grad():
        return tuple(outline(torch.empty(2, *input_shape, device="meta")).shape)


def _breaks(
    outline: nn.Module, group: ChannelGroup, input_shape: Sequence[int], multiple: int, whole: tuple[int, ...]
) -> str | None:
    """What happens to the network without some channels of a group, in words; None if it runs, "" if they leave it."""
    for kept in sorted({group.kept(ratio, multiple) for ratio in (0.25, _MOST)} - {group.channels}):
        seen = LastSeen(network := _cut(outline, [group], [kept]))
        try:
            with seen:
                shape = _output_shape(network, input_shape)
        except Exception as error:  # noqa: BLE001 - a network of the user's may raise anything
            return f"{seen.layer} fails: {first_line(error)}"
        if shape != whole:
            return ""
    return None

"""What is done to an ONNX graph after the export: int8 and fp16 conversion, metadata, and a description of it."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["METHODS", "describe", "nodes_within", "quantize_int8", "to_fp16", "write_metadata"]

METHODS = {"min-max": "MinMax", "percentile": "Percentile", "entropy": "Entropy"}  # as onnxruntime calls them

# Elements of one calibration feed; all samples in one feed would need the activations of all at once.
_FEED_ELEMENTS = 2_000_000
_FEED_SAMPLES = 64


def nodes_within(graph: Any, modules: Sequence[str]) -> list[str]:
    """Names of the nodes that torch's exporter made of these modules ("0.spectrum" is "/0/spectrum/" there)."""
    prefixes = tuple(f"/{name.replace('.', '/')}/" for name in modules)
    return [node.name for node in graph.node if prefixes and node.name.startswith(prefixes)]


class _Feeds:
    """Calibration samples in batches, as onnxruntime's calibrator asks for them."""

    def __init__(self, name: str, samples: NDArray[Any]) -> None:
        step = max(1, min(_FEED_SAMPLES, _FEED_ELEMENTS // max(1, math.prod(samples.shape[1:]))))
        self._feeds: Iterator[dict[str, NDArray[Any]]] = iter(
            [{name: np.ascontiguousarray(samples[i : i + step])} for i in range(0, len(samples), step)]
        )

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self._feeds, None)


def quantize_int8(
    source: Path,
    target: Path,
    samples: NDArray[Any],
    *,
    input_name: str,
    reduce_range: bool,
    kept: Sequence[str] = (),
    is_symmetric: bool = False,
    method: str = "min-max",
) -> None:
    """Static QDQ quantization: int8 weights per channel, uint8 activations.

    Args:
        source: fp32 file; `target`: the file to write.
        samples: `n x input_shape`, n >= 1.
        reduce_range: keep weights in 7 bits, for CPUs whose u8 x s8 sums saturate at 16 bits.
        kept: modules whose nodes stay in fp32.
        is_symmetric: what TensorRT reads: activations in int8 around zero, biases in float, a pair of Q and DQ at each
            weight (TensorRT developer guide, "Working with Quantized Types").
        method: one of `METHODS`, how samples set the ranges of activations.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = target.with_suffix(".prepared.onnx")
    # Symbolic shape inference is for transformers; on convolutional networks it finds nothing more.
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    with contextlib.redirect_stdout(io.StringIO()):  # the calibrator prints what it does
        quantize_static(
            str(prepared),
            str(target),
            _Feeds(input_name, samples),
            quant_format=QuantFormat.QDQ,
            nodes_to_exclude=nodes_within(onnx.load(str(prepared)).graph, kept),
            per_channel=True,
            reduce_range=reduce_range,
            activation_type=QuantType.QInt8 if is_symmetric else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod[METHODS[method]],
            extra_options=dict.fromkeys(("ActivationSymmetric", "AddQDQPairToWeight", "DedicatedQDQPair"), True)
            | {"QuantizeBias": False}
            if is_symmetric
            else {},
        )


def to_fp16(source: Path, target: Path, kept: Sequence[str] = ()) -> None:
    """Weights and operations in fp16; input and output, and what the modules `kept` do, in fp32."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = onnx.load(str(source))
    blocked = nodes_within(model.graph, kept)
    converted = convert_float_to_float16(model, keep_io_types=True, node_block_list=blocked)
    if blocked:
        _join_kept(converted.graph)
    onnx.save(converted, str(target))


def _join_kept(graph: Any) -> None:
    """Between nodes that stay in fp32, and from the input to them, no tensor goes through fp16; no cast is made twice.

    The converter casts around each such node on its own.
    """
    casts = [node for node in graph.node if node.op_type == "Cast"]
    lowering = [n for n in casts if n.name.endswith("_cast_to_fp16_node") or n.name.startswith("graph_input_cast")]
    down = {node.output[0]: node.input[0] for node in lowering}
    raising = [node for node in casts if node.name.endswith("_cast_to_fp32_node")]
    same = {node.output[0]: down[node.input[0]] for node in raising if node.input[0] in down}
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = same.get(name, name)
    for _ in range(2):  # a cast that only an unread cast reads is not read either
        read = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
        made: set[str] = set()
        for node in [node for node in graph.node if node.op_type == "Cast"]:
            if node.output[0] in made or node.output[0] not in read:
                graph.node.remove(node)
            made.add(node.output[0])
    del graph.value_info[:]


def write_metadata(path: Path, metadata: Mapping[str, str]) -> None:
    """Replace the text pairs in the file's own metadata."""
    import onnx

    model = onnx.load(str(path))
    del model.metadata_props[:]
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, str(path))


def describe(path: Path) -> dict[str, Any]:
    """Opset, IR version, and the range of the int8 weights (None without any)."""
    import onnx
    from onnx import TensorProto, numpy_helper

    model = onnx.load(str(path))
    int8 = [numpy_helper.to_array(t) for t in model.graph.initializer if t.data_type == TensorProto.INT8]
    values = [array for array in int8 if array.size]
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), None)
    return {
        "opset": opset,
        "ir_version": model.ir_version,
        "weight_range": [int(min(map(np.min, values))), int(max(map(np.max, values)))] if values else None,
    }

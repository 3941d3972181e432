"""What an ONNX operator is: its kind, and the detail that a trace of the torch operation has."""

from __future__ import annotations

__all__ = [
    "CONVOLUTIONS",
    "FREE",
    "INTEGER",
    "KINDS",
    "PLACES",
    "PRECISIONS",
    "PRODUCERS",
    "PRODUCTS",
    "WEIGHTED",
]

_ELEMENTWISE = (
    "Abs", "Add", "And", "Ceil", "Cos", "Div", "Equal", "Exp", "Floor", "Greater", "GreaterOrEqual", "IsInf", "IsNaN",
    "Less", "LessOrEqual", "Log", "Max", "Mean", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pow", "Reciprocal", "Round",
    "Sign", "Sin", "Sqrt", "Sub", "Sum", "Where", "Xor",
)  # fmt: skip
# operator -> kind and the detail that a trace of the torch operation has
KINDS = {
    "Conv": ("conv", "convolution"),
    "ConvInteger": ("conv", "convolution"),
    "ConvTranspose": ("conv", "convolution"),
    "DeformConv": ("other", "DeformConv"),
    "QLinearConv": ("conv", "convolution"),
    "Gemm": ("linear", "addmm"),
    "MatMul": ("linear", "mm"),
    "MatMulInteger": ("linear", "mm"),
    "QLinearMatMul": ("linear", "mm"),
    "AveragePool": ("pool", "avg_pool2d"),
    "LpPool": ("pool", "lp_pool2d"),
    "MaxPool": ("pool", "max_pool2d_with_indices"),
    "GlobalAveragePool": ("reduce", "mean"),
    "GlobalLpPool": ("reduce", "norm"),
    "GlobalMaxPool": ("reduce", "amax"),
    "ReduceMean": ("reduce", "mean"),
    "ReduceSum": ("reduce", "sum"),
    "ReduceMax": ("reduce", "amax"),
    **{name: ("reduce", name) for name in ("ArgMax", "ArgMin", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2")},
    **{name: ("reduce", name) for name in ("ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare")},
    "BatchNormalization": ("norm", "native_batch_norm"),
    "GroupNormalization": ("norm", "native_group_norm"),
    "InstanceNormalization": ("norm", "native_batch_norm"),
    "LayerNormalization": ("norm", "native_layer_norm"),
    "LpNormalization": ("norm", "lp_norm"),
    "MeanVarianceNormalization": ("norm", "native_layer_norm"),
    "RMSNormalization": ("norm", "rms_norm"),
    "Celu": ("activation", "celu"),
    "Clip": ("activation", "clamp"),
    "Elu": ("activation", "elu"),
    "Erf": ("activation", "erf"),
    "Gelu": ("activation", "gelu"),
    "HardSigmoid": ("activation", "hardsigmoid"),
    "HardSwish": ("activation", "hardswish"),
    "LeakyRelu": ("activation", "leaky_relu"),
    "Mish": ("activation", "mish"),
    "PRelu": ("activation", "prelu"),
    "Relu": ("activation", "relu"),
    "Selu": ("activation", "elu"),
    "Sigmoid": ("activation", "sigmoid"),
    "Softplus": ("activation", "softplus"),
    "Softsign": ("activation", "softsign"),
    "Swish": ("activation", "silu"),
    "Tanh": ("activation", "tanh"),
    "ThresholdedRelu": ("activation", "threshold"),
    "LogSoftmax": ("softmax", "_log_softmax"),
    "Softmax": ("softmax", "_softmax"),
    "Resize": ("resize", "upsample_nearest2d"),
    "Upsample": ("resize", "upsample_nearest2d"),
    "Concat": ("concat", "cat"),
    "DepthToSpace": ("layout", "clone"),
    "Pad": ("layout", "constant_pad_nd"),
    "SpaceToDepth": ("layout", "clone"),
    "Tile": ("layout", "clone"),
    **{name: ("elementwise", name.lower()) for name in _ELEMENTWISE},
}
# They relabel a tensor, or a runtime merges them into what reads it; a trace leaves them out too.
FREE = {
    "Cast", "CastLike", "DequantizeLinear", "Dropout", "Expand", "Flatten", "Identity", "QuantizeLinear", "Reshape",
    "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze",
}  # fmt: skip
# Kinds whose constant operands are parameters; elsewhere they are sizes, scales of an image or bounds.
WEIGHTED = {"norm", "elementwise", "concat", "embedding", "other"}
INTEGER = {"ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul"}
CONVOLUTIONS = {"Conv", "ConvInteger", "ConvTranspose", "QLinearConv"}
PRODUCERS = {"conv", "pointwise", "depthwise", "grouped", "linear"}
PRODUCTS = {"Gemm", "MatMul", "MatMulInteger", "QLinearMatMul"}
# Where its weights (or the second matrix) and its bias are, if not in places 1 and 2.
PLACES = {"QLinearConv": (3, 8), "QLinearMatMul": (3, None), "ConvInteger": (1, None), "MatMulInteger": (1, None)}
PRECISIONS = {10: "fp16", 16: "bf16"}  # by TensorProto.DataType

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hwnas.compress.quantize import fold_batch_norm, simulate
from hwnas.core.compression import PRECISIONS
from hwnas.core.task import Task
from hwnas.elastic.data import accuracy, normalised
from hwnas.errors import ConfigError


class Pairs(nn.Module):
    """Pairs by attribute, one activation for both, a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.a_norm = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.b, self.b_norm = nn.Conv2d(8, 3, 1), nn.BatchNorm2d(3, affine=False)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.b_norm(self.b(self.act(self.a_norm(self.a(x)))))


class Branches(nn.Module):
    """What cannot be followed by tracing."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)) if x.sum() > 0 else self.conv(x)


class ReadTwice(nn.Module):
    """The convolution's own output is used as well."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return y + self.norm(y)


class CalledTwice(ReadTwice):
    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(self.conv(x)))


def shared_norm() -> nn.Module:
    norm = nn.BatchNorm2d(3)
    return nn.Sequential(nn.Conv2d(3, 3, 1), norm, nn.Conv2d(3, 3, 1), norm)


MODELS: list[tuple[Callable[[], nn.Module], int]] = [
    (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()), 0),
    (lambda: nn.Sequential(nn.ReLU(), nn.Conv2d(3, 6, 3, groups=3, bias=False), nn.BatchNorm2d(6)), 0),
    (lambda: nn.Sequential(Pairs(), nn.Sequential(Pairs(), nn.ReLU())), 0),
    (lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)), 1),
    (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)), 1),
    (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)), 1),
    (shared_norm, 1),
    (Branches, 1),
    (ReadTwice, 1),
    (CalledTwice, 1),
    (lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 2)), 0),
    (nn.ReLU, 0),
]


def warmed(make: Callable[[], nn.Module]) -> nn.Module:
    """A model whose batch norms have seen something."""
    torch.manual_seed(0)
    model = make().train()
    for _ in range(3):
        model(torch.randn(16, 3, 8, 8) * 2 + 1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.affine:
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.bias, -1, 1)
    return model


@pytest.mark.parametrize(("make", "left"), MODELS)
def test_folding_keeps_the_answers(make: Callable[[], nn.Module], left: int) -> None:
    model = warmed(make)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    folded = fold_batch_norm(model)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in folded.modules()) == left
    inputs = torch.randn(5, 3, 8, 8)
    assert not folded.training
    assert model.training
    torch.testing.assert_close(folded(inputs), model.eval()(inputs), atol=1e-5, rtol=1e-4)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("make", "left"), MODELS)
def test_any_module_can_be_simulated(make: Callable[[], nn.Module], left: int, precision: str) -> None:
    model = warmed(make)
    inputs = torch.randn(16, 3, 8, 8)
    found = simulate(model, precision, inputs)(inputs)
    exact = model.eval()(inputs)
    noise = (found - exact).pow(2).mean() / exact.pow(2).mean()
    assert noise < 0.01  # 20 dB
    assert noise == 0 if precision == "fp32" else torch.isfinite(found).all()


def quantized(values: Any, low: float, high: float) -> Any:
    """Slow twin: the nearest of 256 evenly spaced values, zero among them."""
    scale = (max(high, 0) - min(low, 0)) / 255
    zero = round(-min(low, 0) / scale)
    return (np.clip(np.rint(values / scale) + zero, 0, 255) - zero) * scale


@pytest.mark.parametrize(("bits", "top"), [(8, 127), (7, 64), (4, 8)])
def test_int8_is_its_formula(bits: int, top: int) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(6, 4).requires_grad_(False)
    inputs = torch.randn(50, 6)
    weight, bias, x = (tensor.double().numpy() for tensor in (layer.weight, layer.bias, inputs))
    scale = abs(weight).max(axis=1, keepdims=True) / top
    answers = quantized(x, x.min(), x.max()) @ (np.rint(weight / scale) * scale).T + bias
    expected = quantized(answers, answers.min(), answers.max())
    # The output range is read before inputs are rounded, so it may differ by a step.
    step = np.ptp(answers) / 255
    found = simulate(layer, "int8", inputs, weight_bits=bits)(inputs).numpy()
    assert abs(found - expected).max() < 2.5 * step


def test_values_beyond_the_calibration_range_are_clipped() -> None:
    layer = nn.Linear(1, 1, bias=False).requires_grad_(False)
    nn.init.ones_(layer.weight)
    simulated = simulate(layer, "int8", torch.tensor([[-1.0], [1.55]]))
    found = simulated(torch.tensor([[-9.0], [-1.0], [0.0], [9.0]])).ravel()
    torch.testing.assert_close(found, torch.tensor([-1.0, -1.0, 0.0, 1.55]), atol=1e-6, rtol=0)


def test_a_relu_shares_the_range_of_its_convolution() -> None:
    layers = nn.Sequential(nn.Linear(1, 1, bias=False), nn.ReLU()).requires_grad_(False)
    nn.init.ones_(layers[0].weight)
    found = simulate(layers, "int8", torch.tensor([[-100.0], [2.55]]))(torch.tensor([[-50.0], [2.0]]))
    # Steps of 0.01 on the outside; the input's own range of 102.55 makes 2.0 the fifth step of 0.4022.
    torch.testing.assert_close(found.ravel(), torch.tensor([0.0, 2.01]), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("precision", "kind"), [("fp16", torch.float16), ("bf16", torch.bfloat16)])
def test_half_precisions_round(precision: str, kind: torch.dtype) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(6, 4).requires_grad_(False)
    inputs = torch.randn(50, 6)

    def rounded(tensor: Tensor) -> Tensor:
        return tensor.to(kind).float()

    expected = rounded(nn.functional.linear(rounded(inputs), rounded(layer.weight), rounded(layer.bias)))
    assert torch.equal(simulate(layer, precision, inputs)(inputs), expected)


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_the_same_batch_gives_the_same_answers(trained: nn.Module, digits: Task, precision: str) -> None:
    calibration = normalised(digits.train.inputs[:64], digits.preprocessing)
    a, b = (simulate(trained, precision, calibration)(calibration) for _ in range(2))
    assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("precision", "bits", "message"),
    [("int4", 8, "got 'int4', 8"), ("int8", 9, "got 'int8', 9"), ("int8", 1, "2 to 8")],
)
def test_bad_settings(precision: str, bits: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        simulate(nn.Linear(1, 1), precision, torch.zeros(1, 1), weight_bits=bits)


def onnx_accuracy(model: nn.Module, task: Task, calibration: Tensor, folder: Path, *, reduce_range: bool) -> float:
    """Accuracy of ONNX Runtime's own static quantization on the test split."""
    import onnxruntime
    from onnxruntime import quantization as q

    class Reader(q.CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = iter([{"x": calibration.contiguous().numpy()}])

        def get_next(self) -> Any:
            return next(self.batches, None)

    source, target = folder / "m.onnx", folder / "q.onnx"
    names = {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": {"x": {0: "n"}, "y": {0: "n"}}}
    torch.onnx.export(model, (calibration[:1],), str(source), dynamo=False, opset_version=17, **names)
    q.quantize_static(
        source,
        target,
        Reader(),
        quant_format=q.QuantFormat.QDQ,
        per_channel=True,
        activation_type=q.QuantType.QUInt8,
        weight_type=q.QuantType.QInt8,
        reduce_range=reduce_range,
    )
    session = onnxruntime.InferenceSession(str(target), providers=["CPUExecutionProvider"])
    logits = session.run(None, {"x": task.preprocessing(task.test.inputs)})[0]
    return float((logits.argmax(axis=1) == task.test.labels).mean())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_int8_is_what_onnxruntime_makes_of_it(trained: nn.Module, digits: Task, tmp_path: Path) -> None:
    calibration = normalised(digits.train.inputs[:128], digits.preprocessing)
    assert accuracy(trained, digits.test, digits.preprocessing) > 0.9
    simulated = simulate(trained, "int8", calibration, weight_bits=7)
    found = accuracy(simulated, digits.test, digits.preprocessing)
    assert abs(found - onnx_accuracy(trained, digits, calibration, tmp_path, reduce_range=True)) <= 0.01


@pytest.mark.gpu
@pytest.mark.parametrize("precision", PRECISIONS)
def test_on_a_gpu(trained: nn.Module, digits: Task, precision: str) -> None:
    calibration = normalised(digits.train.inputs[:64], digits.preprocessing)
    there = simulate(trained.to("cuda"), precision, calibration)(calibration.cuda()).cpu()
    here = simulate(trained.to("cpu"), precision, calibration)(calibration)
    assert (there - here).abs().max() / here.abs().max() < 0.05


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_modules_that_keep_fp32_are_not_rounded(precision: str) -> None:
    class Kept(nn.Sequential):
        keeps_fp32 = True

    x = torch.randn(8, 6)
    kept = Kept(nn.Linear(6, 6), nn.ReLU())
    found = simulate(nn.Sequential(kept, nn.Linear(6, 3)), precision, x)
    torch.testing.assert_close(found[0](x), kept(x), rtol=0, atol=0)  # type: ignore[index]
    plain = nn.Sequential(nn.Linear(6, 6), nn.ReLU())
    assert not torch.equal(simulate(nn.Sequential(plain), precision, x)(x), plain(x))


@pytest.mark.parametrize("precision", ["int8-dynamic", "int8-weights"])
def test_int8_without_ranges_that_are_set_beforehand(precision: str) -> None:
    """Against loops over channels and samples; calibration samples are not read."""

    def by_channel(weight: torch.Tensor) -> torch.Tensor:
        rows = []
        for row in weight:
            scale = float(row.abs().max()) / 127
            rows.append((row / scale).round().clamp(-127, 127) * scale)
        return torch.stack(rows)

    def by_sample(values: torch.Tensor) -> torch.Tensor:
        rows = []
        for row in values:
            low, high = min(float(row.min()), 0.0), max(float(row.max()), 0.0)
            scale = (high - low) / 255
            zero = round(-low / scale)
            rows.append(((row / scale).round() + zero).clamp(0, 255).sub(zero) * scale)
        return torch.stack(rows)

    torch.manual_seed(0)
    conv, linear = nn.Conv2d(3, 4, 3), nn.Linear(4 * 16, 5)
    network, inputs = nn.Sequential(conv, nn.ReLU(), nn.Flatten(), linear).eval(), torch.randn(3, 3, 6, 6)
    read = by_sample if precision == "int8-dynamic" else lambda values: values
    with torch.no_grad():
        found = simulate(network, precision, torch.empty(0))(inputs)
        x = nn.functional.conv2d(read(inputs), by_channel(conv.weight), conv.bias).relu().flatten(1)
        wanted = nn.functional.linear(read(x), by_channel(linear.weight), linear.bias)
        assert torch.allclose(found, wanted, atol=1e-5)
        assert not torch.equal(found, network(inputs))

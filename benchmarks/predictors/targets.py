"""What each shipped predictor learns from: columns of published tables, and what their sources say of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hwnas.latency.fit import Origin

__all__ = ["TARGETS", "Part", "Target"]

_ONEPROXY = "as copied in Ren-Research/OneProxy (MIT), 1,999 architectures"
_EAGLE = f"EAGLE / LatBench of BRP-NAS, Dudziak et al., NeurIPS 2020, github.com/SamsungLabs/eagle; {_ONEPROXY}"
_RICE = "HW-NAS-Bench, Li et al., ICLR 2021, github.com/GATECH-EIC/HW-NAS-Bench"
_NN_METER = f"nn-Meter benchmark data, Zhang et al., MobiSys 2021, github.com/microsoft/nn-Meter; {_ONEPROXY}"
_HELP = "HELP, Lee et al., NeurIPS 2021, github.com/HayeonLee/HELP"
_ACCEL = "Accel-NASBench, Ahmad et al., DAC 2024, github.com/afzalxo/Accel-NASBench"
_HELD_OUT = "figures are of networks that were held out in cross-validation"
_END = "measured end to end; the source states neither framework, version, threads nor power mode"
_DEAD = "operations without effect were not run"


@dataclass(frozen=True, slots=True)
class Part:
    """A column of a table.

    Attributes:
        table: name of the table (`tables.Table`).
        column: of latencies.
        drops_dead: whether edges without effect were not run.
    """

    table: str
    column: str
    drops_dead: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """One predictor: where its latencies come from, and what its card says."""

    origin: Origin
    parts: tuple[Part, ...]

    @property
    def name(self) -> str:
        """Device and precision."""
        return f"{self.origin.device} {self.origin.precision}"


def _target(device: str, parts: list[Part], source: str, licence: str, note: str, **origin: object) -> Target:
    known = Origin(
        device=device, runtime="not-stated", statistic="mean as published", source=source, licence=licence,
        note=f"{note}; {_HELD_OUT}",
    )  # fmt: skip
    return Target(replace(known, **origin), tuple(parts))  # type: ignore[arg-type]


def _eagle(device: str, column: str, precision: str) -> Target:
    statistic = "mean as published (within the interquartile range, as EAGLE's tools/calc_stats.py does)"
    return _target(
        device, [Part("nasbench201", column, drops_dead=True)], _EAGLE, "Apache-2.0 (EAGLE), MIT (OneProxy)",
        f"the source states neither runtime, its version nor power mode; {_DEAD}",
        precision=precision, statistic=statistic, **({"runtime": "edgetpu"} if device == "edgetpu" else {}),
    )  # fmt: skip


def _nn_meter(device: str, column: str) -> Target:
    return _target(
        device, [Part("nasbench201", column)], _NN_METER, "MIT",
        "TFLite 2.1; threads and power mode are not stated", runtime="litert", runtime_version="TFLite 2.1",
    )  # fmt: skip


def _help(device: str, batch: int, *parts: tuple[str, str]) -> Target:
    note = _END
    if any(table == "ofa" for table, _ in parts):
        note += "; networks of ofa-mobilenetv3 were timed on images of their resolution, without the resize before them"
    return _target(device, [Part(*part) for part in parts], _HELP, "MIT", note, batch=batch)


def _phone(device: str, *parts: tuple[str, str]) -> Target:
    return _target(
        device, [Part(*part) for part in parts], _HELP, "MIT", f"whole milliseconds, much noise; {_END}"
    )  # fmt: skip


def _rice(device: str, column: str, note: str, **origin: object) -> Target:
    return _target(device, [Part("nasbench201", column)], f"{_RICE}; as copied in HELP (MIT)", "MIT", note, **origin)


def _accel(device: str, column: str, note: str, **origin: object) -> Target:
    return _target(device, [Part("mnasnet", column)], _ACCEL, "Apache-2.0", note, **origin)


def _throughput(device: str, note: str = "") -> Target:
    statistic = "1000 / (images per second), mean as published"
    text = f"throughput: ms per image, not a latency; the batch is not stated{note}"
    return _accel(device, f"throughput_{device}_mean", text, quantity="throughput", statistic=statistic)


_TX2 = (
    "TensorRT by torch2trt, as dev/proj_edgegpu of the source shows; its version and the power mode are not stated; "
    "edges of kind none were run as a multiplication by zero, which no operation list shows"
)
_DPU = "batch and tool version are not stated"

TARGETS: tuple[Target, ...] = (
    _eagle("jetson-nano", "eagle_jetson", "fp32"),
    _eagle("jetson-nano", "eagle_jetson_16", "fp16"),
    _target(
        "jetson-tx2",
        [Part("nasbench201", "rice_edgegpu")],
        f"{_RICE}; {_ONEPROXY}",
        "MIT",
        _TX2,
        runtime="tensorrt",
        statistic="mean as published (of 50 calls after 3 s of warm-up)",
    ),
    _eagle("edgetpu", "eagle_tpu", "int8"),
    _eagle("snapdragon-855-cpu", "eagle_cpu_855", "int8"),
    _eagle("snapdragon-855-gpu", "eagle_gpu_855", "int8"),
    _nn_meter("cortex-a76", "true_a76"),
    _nn_meter("adreno-640", "true_640"),
    _nn_meter("adreno-630", "true_630"),
    _rice("raspberry-pi-4", "raspi4", "TFLite; version and threads are not stated", runtime="litert"),
    _rice("pixel-3", "pixel3", "TFLite; version and threads are not stated", runtime="litert"),
    _rice("eyeriss", "eyeriss", "an analytical model of the chip, not a chip", runtime="model", measured=False),
    _rice("fpga", "fpga", "a performance model of an FPGA, not an FPGA", runtime="model", measured=False),
    _phone("pixel-2", ("nasbench201", "pixel2")),
    _phone("galaxy-a50", ("nasbench201", "samsung_a50"), ("fbnet", "samsung_a50")),
    _phone("galaxy-s7", ("nasbench201", "samsung_s7"), ("fbnet", "samsung_s7")),
    _phone("essential-ph-1", ("nasbench201", "essential_ph_1"), ("fbnet", "essential_ph_1")),
    _help("xeon-silver-4114", 1, ("nasbench201", "silver_4114"), ("fbnet", "silver_4114")),
    _help("xeon-silver-4210r", 1, ("nasbench201", "silver_4210r"), ("fbnet", "silver_4210r")),
    _help("xeon-gold-6226", 1, ("nasbench201", "gold_6226"), ("fbnet", "gold_6226")),
    _help("xeon-gold-6240", 1, ("fbnet", "gold_6240")),
    _help("gtx-1080-ti", 1, ("nasbench201", "1080ti_1"), ("fbnet", "1080ti_1")),
    _help("gtx-1080-ti-b32", 32, ("nasbench201", "1080ti_32"), ("fbnet", "1080ti_32")),
    _help("gtx-1080-ti-b64", 64, ("fbnet", "1080ti_64")),
    _help("gtx-1080-ti-b256", 256, ("nasbench201", "1080ti_256")),
    _help("rtx-2080-ti", 1, ("nasbench201", "2080ti_1"), ("fbnet", "2080ti_1"), ("ofa", "2080ti_1")),
    _help("rtx-2080-ti-b32", 32, ("fbnet", "2080ti_32"), ("ofa", "2080ti_32")),
    _help("rtx-2080-ti-b64", 64, ("ofa", "2080ti_64")),
    _help("rtx-2080-ti-b256", 256, ("nasbench201", "2080ti_256")),
    _help("titan-rtx", 1, ("fbnet", "titan_rtx_1"), ("ofa", "titan_rtx_1")),
    _help("titan-rtx-b32", 32, ("nasbench201", "titan_rtx_32"), ("fbnet", "titan_rtx_32"), ("ofa", "titan_rtx_32")),
    _help("titan-rtx-b64", 64, ("ofa", "titan_rtx_64")),
    _help("titan-rtx-b256", 256, ("nasbench201", "titan_rtx_256")),
    _help("titan-x", 1, ("nasbench201", "titanx_1")),
    _help("titan-x-b32", 32, ("nasbench201", "titanx_32")),
    _help("titan-x-b256", 256, ("nasbench201", "titanx_256")),
    _help("titan-xp", 1, ("nasbench201", "titanxp_1"), ("fbnet", "titanxp_1"), ("ofa", "titan_xp_1")),
    _help("titan-xp-b32", 32, ("nasbench201", "titanxp_32"), ("ofa", "titan_xp_32")),
    _help("titan-xp-b64", 64, ("ofa", "titan_xp_64")),
    _help("titan-xp-b256", 256, ("nasbench201", "titanxp_256")),
    _throughput("a100"),
    _throughput("tpuv2"),
    _throughput("tpuv3", "; the table saturates near 1,800 images/s, where the input pipeline is the limit"),
    _accel("zcu102", "latency_zcu102_mean", _DPU, runtime="vitis-ai", precision="int8"),
    _accel("vck190", "latency_vck190_mean", _DPU, runtime="vitis-ai", precision="int8"),
)

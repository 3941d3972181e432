from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("litert_torch", reason="needs: pip install 'hwnas[litert]'")

from hwnas.plugins import load_plugin
from hwnas.runtimes.litert import LiteRt, channels_last
from hwnas.testing.networks import small_network
from hwnas.testing.runtime import RuntimeContract, spec_of


class TestLiteRt(RuntimeContract):
    @pytest.fixture
    def runtime(self) -> LiteRt:
        return LiteRt()


def test_is_a_plugin() -> None:
    assert load_plugin("runtime", "litert") is LiteRt


def test_images_are_turned_and_nothing_else() -> None:
    image = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    assert channels_last(image)[0, 1, 2].tolist() == image[0, :, 1, 2].tolist()
    sound = np.zeros((2, 5), np.float32)
    assert channels_last(sound) is sound


def test_an_int8_file_takes_and_gives_floats_and_loads_without_hwnas(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    details = LiteRt().export(small_network(), spec_of("int8"), path).details
    assert details["input"] == {"name": "input", "shape": [1, 16, 16, 3], "dtype": "float32", "layout": "NHWC"}
    assert details["graph"]["after"]["XNNPACK partition"] >= 1
    code = (
        "import sys, numpy as np\n"
        "from ai_edge_litert.interpreter import Interpreter\n"
        "interpreter = Interpreter(sys.argv[1]); interpreter.allocate_tensors()\n"
        "read, write = interpreter.get_output_details()[0], interpreter.get_input_details()[0]\n"
        "interpreter.set_tensor(write['index'], np.zeros((1, 16, 16, 3), np.float32)); interpreter.invoke()\n"
        "print(interpreter.get_tensor(read['index']).shape, read['dtype'].__name__)\n"
        "print(sum(d['dtype'] == np.int8 for d in interpreter.get_tensor_details()))\n"
        "assert not [name for name in sys.modules if name.startswith('hwnas.')]"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    answer, int8_tensors = done.stdout.strip().splitlines()
    assert answer == "(1, 5) float32"
    assert int(int8_tensors) > 10

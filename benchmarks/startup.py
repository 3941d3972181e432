"""Start-up: `import hwnas` and `hwnas --help`, the fastest of ten fresh processes.

python benchmarks/startup.py
"""

from __future__ import annotations

import subprocess
import sys
import time

from record import record


def fastest_s(code: list[str]) -> float:
    """Seconds of the fastest of ten runs, less those of an empty Python process."""
    times = []
    for _ in range(10):
        start = time.perf_counter()
        subprocess.run(code, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    bare_s = fastest_s([sys.executable, "-c", "pass"])
    import_s = fastest_s([sys.executable, "-c", "import hwnas, sys; assert 'torch' not in sys.modules"])
    help_s = fastest_s([sys.executable, "-c", "from hwnas.cli.main import main; main()", "--help"])
    figures = {
        "goal": {"import_s": 0.3, "help_s": 0.6},
        "bare_python_s": round(bare_s, 3),
        "import_s": round(import_s, 3),
        "help_s": round(help_s, 3),
        "note": "whole processes; torch is not imported",
    }
    record("startup", "python benchmarks/startup.py", figures)


if __name__ == "__main__":
    main()

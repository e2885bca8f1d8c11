"""The benchmark of a card runs, in small and without one, down to its last line."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(600)  # 20 seconds of computing, beside whatever else the machine does
def test_the_benchmark_of_a_card_runs_without_one():
    for package in ("sentence_transformers", "datasets"):
        pytest.importorskip(package, reason="the benchmark compares with it")
    command = [sys.executable, ROOT / "benchmarks" / "gpu.py", "--device", "cpu", "--tiny"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    rates = {
        found[1].strip(): float(found[2])
        for found in re.finditer(r"^(\S.{43}) +([\d.]+) (?:pairs|texts)/s", done.stdout, re.MULTILINE)
    }
    assert list(rates) == [
        "hybridtune",
        "hybridtune, attention dropout (groups)",
        "sentence-transformers, its trainer",
        "hybridtune, blocks of 1,024 token ids",
        "sentence-transformers, texts",
    ]
    assert all(rate > 0 for rate in rates.values())
    assert re.search(r"the least cosine of the two systems' vectors of 64 texts: (0\.9999|1\.0000)", done.stdout)

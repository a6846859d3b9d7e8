"""Probes from outside: the examples run."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "command",
    [
        [ROOT / "build" / "release" / "examples" / "own_probe"],
        [sys.executable, ROOT / "examples" / "python" / "own_probe.py"],
    ],
    ids=["C++", "Python"],
)
def test_an_own_probe_takes_part_in_evaluation(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "AUROC" in done.stdout

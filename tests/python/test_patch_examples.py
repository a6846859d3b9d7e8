"""Patching from outside: the examples run, and what they draw is there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "command",
    [
        [ROOT / "build" / "release" / "examples" / "own_edit"],
        [sys.executable, ROOT / "examples" / "python" / "own_edit.py"],
    ],
    ids=["C++", "Python"],
)
def test_an_own_intervention_takes_part_in_runs_and_sweeps(command):
    said = run(*command)
    moved = float(re.search(r"mean acceleration moves by ([\d.]+) m/s", said).group(1))
    assert 0.1 < moved < 3
    assert "vlm.cache.2.v" in said


def test_a_concept_is_followed_through_the_zoo(tmp_path):
    said = run(
        sys.executable,
        ROOT / "examples" / "python" / "where_it_drives.py",
        "mixed",
        "cones",
        tmp_path,
    )
    assert "cones is omitted" in said
    shares = dict(re.findall(r"^  (\w+) +(-?[\d.]+) \[", said, re.MULTILINE))
    assert float(shares["vision"]) > 0.7
    assert abs(float(shares["words"])) < 0.1
    for name in ("where_sites.png", "where_picture.png"):
        assert (tmp_path / name).stat().st_size > 5000

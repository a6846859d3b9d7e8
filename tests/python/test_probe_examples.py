"""Probes from outside: the examples run."""

import json
import re
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


def cells_of_script(path):
    """Return (kind, text) of the cells of a percent script."""
    cells = []
    for part in path.read_text().split("\n# %%")[1:]:
        head, _, body = part.partition("\n")
        if head.strip() == "[markdown]":
            body = "\n".join(re.sub(r"^# ?", "", line) for line in body.splitlines())
            cells.append(("markdown", body.strip()))
        else:
            cells.append(("code", body.strip()))
    return cells


@pytest.mark.parametrize("script", sorted((ROOT / "examples" / "notebooks").glob("*.py")), ids=str)
def test_a_notebook_and_its_script_are_the_same(script):
    notebook = json.loads(script.with_suffix(".ipynb").read_text())
    cells = [(c["cell_type"], "".join(c["source"]).strip()) for c in notebook["cells"]]
    assert cells == cells_of_script(script)
    errors = [
        output
        for c in notebook["cells"]
        for output in c.get("outputs", [])
        if output["output_type"] == "error"
    ]
    assert errors == []

"""Examples on real weights (only in tests/run.sh --full)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "python"


@pytest.mark.real_weights
def test_residuals_of_smollm2():
    """The example checks captures against output_hidden_states, and where a patch must matter."""
    script = EXAMPLES / "smollm2_residuals.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Paris" in done.stdout
    assert "captured 30 sites at 12 events each" in done.stdout


@pytest.mark.real_weights
def test_quotations_are_encoded_in_smollm2():
    """A few layers of the example: it checks what must be encoded and what must not."""
    script = EXAMPLES / "smollm2_quotations.py"
    command = [sys.executable, script, "--articles", "60", "--layers", "0", "12", "29"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "in_quotation is encoded" in done.stdout
    assert "sham is open" in done.stdout


@pytest.mark.real_weights
def test_the_probing_notebook_runs(tmp_path):
    """The paired script, on a few articles and layers."""
    script = EXAMPLES.parent / "notebooks" / "probing.py"
    environment = {**os.environ, "TIEROD_SMALL": "1", "MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "AUROC of the direction on C" in done.stdout

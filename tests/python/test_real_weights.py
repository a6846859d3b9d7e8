"""Examples on real weights (only in tests/run.sh --full)."""

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

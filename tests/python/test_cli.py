"""The command line: `tierod --version` and `tierod doctor`."""

import dataclasses
import json
import platform
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from tierod import _build_info, cli, doctor


def run(*args):
    return CliRunner().invoke(cli.main, list(args))


def test_version_is_that_of_the_build():
    result = run("--version")
    assert result.exit_code == 0
    assert result.output == f"tierod, version {_build_info.version}\n"


def test_doctor_json_reports_what_is_running():
    result = run("doctor", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["healthy"] is True
    assert report["versions"]["torch"] == torch.__version__
    assert report["versions"]["python"] == platform.python_version()
    assert Path(report["paths"]["libtierod"]).name == "libtierod.so"
    for name in ("libtierod", "core", "headers"):
        assert Path(report["paths"][name]).exists()


def test_doctor_prints_every_section_for_people():
    result = run("doctor")
    assert result.exit_code == 0, result.output
    for text in ("versions", "built with", "paths", torch.__version__, "healthy"):
        assert text in result.output


def test_doctor_fails_with_a_remedy_when_torch_is_another_one(monkeypatch):
    monkeypatch.setattr(_build_info, "torch_version", "2.12.1")
    result = run("doctor", "--json")
    assert result.exit_code == 3
    errors = [f for f in json.loads(result.stdout)["findings"] if f["level"] == "error"]
    assert len(errors) == 1
    assert "2.12.1" in errors[0]["what"]
    assert torch.__version__ in errors[0]["what"]
    assert "pip install torch==2.12.1" in errors[0]["remedy"]


def test_doctor_fails_when_the_library_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "_PACKAGE", tmp_path)
    result = run("doctor", "--json")
    assert result.exit_code == 3
    report = json.loads(result.stdout)
    assert report["paths"]["libtierod"] is None
    assert any("libtierod" in f["what"] for f in report["findings"] if f["level"] == "error")


def test_missing_optional_package_is_a_note_not_an_error(monkeypatch):
    monkeypatch.setattr(
        doctor, "_OPTIONAL", {"no_such_package": ("nothing", "pip install nothing")}
    )
    report = doctor.examine()
    assert report.healthy
    assert any("no_such_package" in f.what and f.level == "note" for f in report.findings)


@pytest.mark.parametrize(
    ("built", "running", "same"),
    [
        ("2.13.0", "2.13.0+cpu", True),
        ("2.13.0", "2.13.0+cu130", True),
        ("2.13.0", "2.13.1", False),
        ("2.13.0", "2.14.0+cpu", False),
    ],
)
def test_local_version_labels_do_not_matter(built, running, same):
    assert doctor.same_torch(built, running) is same


def test_report_is_immutable():
    report = doctor.examine()
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.paths = {}


def test_unknown_command_is_bad_input():
    assert run("no-such-command").exit_code == 2

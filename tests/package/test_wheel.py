"""The wheel: what is in it, and that it imports without the source tree."""

import re
import zipfile

from conftest import ROOT, run

PRINT_PATHS = """
import tierod, tierod._core, torch
print(tierod.__file__); print(tierod._core.__file__); print(torch.__version__)
"""


def test_contents(wheel):
    names = set(zipfile.ZipFile(wheel.file).namelist())
    assert {
        "tierod/__init__.py",
        "tierod/_build_info.py",
        "tierod/_core.pyi",
        "tierod/py.typed",
        "tierod/libtierod.so",
        "tierod/include/tierod/export.h",
        "tierod/share/cmake/tierod/tierod-config.cmake",
    } <= names
    assert [n for n in names if re.fullmatch(r"tierod/_core\..*\.so", n)]
    assert not [n for n in names if "__pycache__" in n or n.endswith((".cpp", "_internal.h"))]
    source = ROOT / "python" / "tierod"
    assert {f"tierod/{p.relative_to(source)}" for p in source.rglob("*.py")} <= names


def test_models_of_the_zoo_are_in_it(wheel):
    names = {
        n for n in zipfile.ZipFile(wheel.file).namelist() if n.startswith("tierod/zoo/models/")
    }
    assert names == {
        f"tierod/zoo/models/{p.name}" for p in (ROOT / "src" / "zoo" / "models").glob("*.h5")
    }
    assert len(names) > 4
    command = wheel.python.parent / "tierod"
    assert "mixed2" in run(command, "zoo", "list").stdout


def test_libraries_look_for_torch_beside_them_and_nowhere_else(wheel):
    for library in (wheel.package / "libtierod.so", next(wheel.package.glob("_core*.so"))):
        dynamic = run("readelf", "-d", library).stdout
        [runpath] = re.findall(r"R(?:UN)?PATH.*\[(.*)\]", dynamic)
        assert runpath == "$ORIGIN:$ORIGIN/../torch/lib"


def test_import_outside_of_the_source_tree(wheel):
    package, core, _ = run(wheel.python, "-W", "error", "-c", PRINT_PATHS).stdout.split()
    assert package.startswith(str(wheel.package))
    assert core.startswith(str(wheel.package))


def test_command_line_is_installed_and_healthy(wheel):
    command = wheel.python.parent / "tierod"
    assert "tierod, version 0.1.0" in run(command, "--version").stdout
    assert "healthy" in run(command, "doctor").stdout


def test_rtld_global_import_is_refused(wheel):
    """Globally visible symbols would clash with the copies in other wheels, and crash later."""
    script = "import os, sys; sys.setdlopenflags(os.RTLD_NOW | os.RTLD_GLOBAL); import tierod"
    done = run(wheel.python, "-c", script, check=False)
    assert done.returncode == 1, done.stderr
    assert "ImportError" in done.stderr
    assert "RTLD_GLOBAL" in done.stderr.splitlines()[-1]

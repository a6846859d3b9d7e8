"""Install the library the two ways a user can, once a session: a CMake prefix and a wheel."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RELEASE = ROOT / "build" / "release"
WORK = ROOT / "build" / "package"
# Paths below the source tree do not count, so that another clone shares the objects.
CCACHE = {"CCACHE_BASEDIR": str(ROOT), "CCACHE_NOHASHDIR": "1"}


def run(*command, cwd=WORK, env=None, check=True):
    """Run a command outside of the source tree and return it, with its output in any failure."""
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "LD_LIBRARY_PATH")}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**clean, **CCACHE, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if check and done.returncode != 0:
        pytest.fail(f"{done.args}\nexit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def configure(source, build, *defines, check=True):
    shutil.rmtree(build, ignore_errors=True)
    command = ["cmake", "-S", source, "-B", build, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release"]
    if ccache := shutil.which("ccache"):
        command.append(f"-DCMAKE_CXX_COMPILER_LAUNCHER={ccache}")
    return run(*command, *defines, check=check)


def build(folder, *options):
    run("cmake", "--build", folder, "--parallel", os.cpu_count(), *options)


def compiler():
    cache = (RELEASE / "CMakeCache.txt").read_text()
    return re.search(r"^CMAKE_CXX_COMPILER:\w+=(.+)$", cache, re.MULTILINE).group(1)


def torch_root():
    return Path(sysconfig.get_path("purelib")) / "torch"


@dataclass(frozen=True)
class Wheel:
    """A wheel installed into an environment of its own."""

    file: Path
    python: Path
    package: Path


@pytest.fixture(scope="session", autouse=True)
def work_folder():
    WORK.mkdir(parents=True, exist_ok=True)


@pytest.fixture(scope="session")
def prefix(work_folder):
    """`cmake --install` of the release build."""
    prefix = WORK / "prefix"
    shutil.rmtree(prefix, ignore_errors=True)
    run("cmake", "--install", RELEASE, "--prefix", prefix)
    return prefix


@pytest.fixture(scope="session")
def wheel(work_folder):
    """The wheel in a clean environment, which has torch beside it but not the build tree."""
    wheels, venv = WORK / "wheel", WORK / "venv"
    for folder in (wheels, venv):
        shutil.rmtree(folder, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    # compiler and flags of the release build, so that ccache has every object
    werror = "--config-settings=cmake.define.TIEROD_WERROR=ON"
    command = [*pip, "wheel", "--no-build-isolation", "--no-deps", werror, "--wheel-dir", wheels]
    run(*command, ROOT, env={"CXX": compiler()})
    [file] = wheels.glob("tierod-*.whl")

    run(sys.executable, "-m", "venv", "--without-pip", venv)
    python = venv / "bin" / "python"
    site = Path(
        run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip()
    )
    # A path file is not searched for further path files, so the build tree's does not take effect.
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (site / "torch").symlink_to(torch_root())
    run(*pip, "--python", python, "install", "--no-deps", file)
    return Wheel(file, python, site / "tierod")

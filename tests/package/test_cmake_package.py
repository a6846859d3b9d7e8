"""find_package(tierod) from a CMake prefix and from a wheel; what it must refuse."""

import re
import shutil
import subprocess
import tomllib

import pytest
from conftest import ROOT, WORK, build, configure, run, torch_root

CONSUMER = ROOT / "tests" / "package" / "consumer"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERSION = f"tierod {PROJECT['version']}"


def build_and_run(folder, *defines):
    """Return what the consumer's two programs print; each ends with an error if a check in it fails."""
    configure(CONSUMER, folder, *defines)
    build(folder)
    return run(folder / "consumer").stdout, run(folder / "versions").stdout


def test_consumer_of_the_prefix(prefix):
    cmake_path = f"{prefix};{torch_root() / 'share' / 'cmake'}"
    consumer, versions = build_and_run(
        WORK / "consumer-prefix", f"-DCMAKE_PREFIX_PATH={cmake_path}"
    )
    assert "consumer: ok" in consumer
    assert VERSION in versions


def test_consumer_of_the_wheel_finds_torch_beside_it(wheel):
    consumer, versions = build_and_run(
        WORK / "consumer-wheel", f"-DCMAKE_PREFIX_PATH={wheel.package}"
    )
    assert "consumer: ok" in consumer
    assert VERSION in versions


def test_prefix_holds_only_the_library(prefix):
    files = {str(p.relative_to(prefix)) for p in prefix.rglob("*") if p.is_file()}
    assert any(f.endswith("/libtierod.so") for f in files)
    assert {
        "include/tierod/export.h",
        "include/tierod/version_config.h",
        "share/cmake/tierod/tierod-config.cmake",
    } <= files
    models = {f"share/tierod/zoo/{p.name}" for p in (ROOT / "src" / "zoo" / "models").glob("*.h5")}
    assert models
    assert models == {f for f in files if f.startswith("share/tierod/zoo/")}
    assert not [f for f in files if f.endswith((".py", "_internal.h")) or "_core" in f]


def test_headers_of_the_prefix_are_those_of_the_source(prefix):
    source = ROOT / "include"
    wanted = {p.relative_to(source) for p in source.rglob("*.h")}
    installed = {p.relative_to(prefix / "include") for p in (prefix / "include").rglob("*.h")}
    assert wanted <= installed


def fake_torch(folder, version):
    """A torch installation of another version, or kind, that shares the real one's files."""
    shutil.rmtree(folder, ignore_errors=True)
    config = folder / "share" / "cmake" / "Torch"
    config.mkdir(parents=True)
    (folder / "include").symlink_to(torch_root() / "include")
    (folder / "lib").mkdir()
    for library in (torch_root() / "lib").glob("*.so*"):
        (folder / "lib" / library.name).symlink_to(library)
    (config / "TorchConfig.cmake").write_text('message(FATAL_ERROR "no CUDA toolkit here")\n')
    (config / "TorchConfigVersion.cmake").write_text(f'set(PACKAGE_VERSION "{version}")\n')
    return folder


@pytest.mark.parametrize("version", ["2.12.1", "2.14.0"])
def test_another_minor_version_of_torch_is_refused(prefix, version):
    other = fake_torch(WORK / "other-torch", version)
    done = configure(
        CONSUMER,
        WORK / "consumer-other",
        f"-DCMAKE_PREFIX_PATH={prefix};{other / 'share' / 'cmake'}",
        check=False,
    )
    assert done.returncode != 0
    message = re.sub(r"\s+", " ", done.stderr)
    assert f"PyTorch 2.13.* is required, {version} was found" in message


def test_no_torch_is_a_clear_error(prefix):
    done = configure(CONSUMER, WORK / "consumer-none", f"-DCMAKE_PREFIX_PATH={prefix}", check=False)
    assert done.returncode != 0
    assert "PyTorch 2.13 was not found" in re.sub(r"\s+", " ", done.stderr)


def test_cuda_build_of_torch_needs_no_cuda_toolkit(prefix):
    """torch's own config stops without a toolkit, which tierod has no use for."""
    cuda = fake_torch(WORK / "cuda-torch", "2.13.0")
    library = cuda / "lib" / "libtorch_cuda.so"
    subprocess.run(["g++", "-shared", "-x", "c++", "/dev/null", "-o", library], check=True)
    folder = WORK / "consumer-cuda"
    cmake_path = f"{prefix};{cuda / 'share' / 'cmake'}"
    configure(CONSUMER, folder, f"-DCMAKE_PREFIX_PATH={cmake_path}", "-DTIEROD_NVCC=")
    build(folder, "--target", "versions")
    assert VERSION in run(folder / "versions").stdout

"""Every code block of the README and the docs runs: `python` blocks of a page in order, in one
process; each `cpp` block is a whole program, built against the installed library."""

import sys

import pytest
from code_blocks import code_blocks
from conftest import RELEASE, ROOT, WORK, build, configure, run, torch_root

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = [block for page in PAGES for block in code_blocks(page)]
NOT_RUN = {"console", "text", "cmake", "json", "{toctree}", "{note}", "{warning}"}

PROJECT = """
cmake_minimum_required(VERSION 3.25)
project(blocks LANGUAGES CXX)
find_package(tierod REQUIRED)
file(GLOB sources "*.cpp")
foreach(source IN LISTS sources)
  get_filename_component(name "${source}" NAME_WE)
  add_executable(${name} "${source}")
  target_compile_options(${name} PRIVATE -Wall -Wextra -Werror)
  target_link_libraries(${name} PRIVATE tierod::tierod)
endforeach()
"""


def name_of(page):
    return str(page.relative_to(ROOT).with_suffix("")).replace("/", "_")


def pages_with(language):
    return sorted({block.page for block in BLOCKS if block.language == language})


def test_every_language_is_run_or_known_not_to_be():
    unknown = {b.language for b in BLOCKS} - {"python", "cpp"} - NOT_RUN
    assert not unknown, f"neither run nor listed as not run: {unknown}"


@pytest.mark.parametrize("page", pages_with("python"), ids=name_of)
def test_python_blocks(page, tmp_path):
    script = tmp_path / f"{name_of(page)}.py"
    lines = []
    for block in code_blocks(page):
        if block.language == "python":
            # keep the page's line numbers, so that a traceback points into it
            lines += [""] * (block.line - 1 - len(lines)) + block.code.splitlines()
    script.write_text("\n".join(lines) + "\n")
    done = run(sys.executable, "-W", "error", script, env={"PYTHONPATH": str(RELEASE / "python")})
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def programs(prefix):
    source, folder = WORK / "blocks", WORK / "blocks-build"
    source.mkdir(exist_ok=True)
    for old in source.iterdir():
        old.unlink()
    for page in pages_with("cpp"):
        for block in code_blocks(page):
            if block.language == "cpp":
                text = f'#line {block.line} "{page.relative_to(ROOT)}"\n{block.code}'
                (source / f"{name_of(page)}_{block.line}.cpp").write_text(text)
    (source / "CMakeLists.txt").write_text(PROJECT)
    cmake_path = f"{prefix};{torch_root() / 'share' / 'cmake'}"
    configure(source, folder, f"-DCMAKE_PREFIX_PATH={cmake_path}")
    build(folder)
    return folder


@pytest.mark.parametrize(
    "block",
    [b for b in BLOCKS if b.language == "cpp"],
    ids=lambda b: f"{name_of(b.page)}:{b.line}",
)
def test_cpp_blocks(programs, block):
    done = run(programs / f"{name_of(block.page)}_{block.line}")
    assert done.returncode == 0, done.stderr

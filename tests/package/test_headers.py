"""Every public header compiles alone, and with warnings as errors."""

from conftest import RELEASE, ROOT, build


def test_every_public_header_compiles_alone():
    build(RELEASE, "--target", "tierod_header_check")
    include = ROOT / "include"
    headers = {str(path.relative_to(include)) for path in (include / "tierod").rglob("*.h")}
    objects = {path.name for path in RELEASE.rglob("*.h.cpp.o")}
    missing = {name for name in headers if f"{name.replace('/', '_')}.cpp.o" not in objects}
    assert headers
    assert not missing

"""Every public header compiles alone, and with warnings as errors."""

from conftest import RELEASE, build


def test_every_public_header_compiles_alone():
    build(RELEASE, "--target", "tierod_header_check")

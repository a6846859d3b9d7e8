"""The command line that all benches share."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

QUICK = "fewer rounds, under 60 s"


def parse_options(
    doc: str, room: str, names: Iterable[str], quick: str = QUICK, **flags: str
) -> tuple[argparse.Namespace, list[str]]:
    """Return the options and the names of the lines that are wanted; `flags` are further ones, with
    their help. Lines are recorded from full runs only, all of them or some."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--only", metavar="NAME", help="only the lines whose name contains NAME")
    help_text = f"write the lines to docs/benchmarks/{room}.jsonl"
    parser.add_argument("--record", action="store_true", help=help_text)
    for flag, text in flags.items():
        parser.add_argument(f"--{flag}", action="store_true", help=text)
    parser.add_argument("--build-dir", help="a configured build folder (default build/release)")
    options = parser.parse_args()
    names = list(names)
    wanted = [name for name in names if options.only is None or options.only in name]
    if not wanted:
        parser.error(f"no line is called like {options.only!r}; there are {', '.join(names)}")
    if options.record and options.quick:
        parser.error("--record writes full lines: leave --quick out")
    return options, wanted

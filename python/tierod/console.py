"""What the commands of `tierod` share: exit codes, errors in one line, tables for people."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

import click

FINISHED, DIFFERENCE, BAD_INPUT, SELF_TEST, INTERRUPTED = 0, 1, 2, 3, 4


@contextmanager
def errors() -> Iterator[None]:
    """Say what tierod refuses in one line, with the exit code that fits."""
    from tierod import _core

    try:
        yield
    except KeyboardInterrupt:
        stop("interrupted", INTERRUPTED)
    except _core.Error as error:
        stop(str(error), BAD_INPUT)


def stop(message: str, code: int) -> NoReturn:
    """Print a message to stderr and leave with `code`."""
    click.echo(f"tierod: {message}", err=True)
    sys.exit(code)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
    """Print a table to stdout; a column whose name begins with ">" stands to the right."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for name in columns:
        table.add_column(
            name.removeprefix(">"),
            justify="right" if name.startswith(">") else "left",
            no_wrap=True,
        )
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False)
    # what is piped into a file is not cut to 80 columns
    if not console.is_terminal:
        console = Console(highlight=False, width=200)
    console.print(table)

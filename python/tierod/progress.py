"""Progress bars for long work, and a Ctrl-C that keeps what is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int, str], bool]]:
    """Show a bar on stderr, where that is a terminal; the function it gives is called with (done, total,
    task) as work goes on."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task(what, total=None)

        def step(done: int, total: int, doing: str) -> bool:
            bar.update(task, completed=done, total=total, description=doing or what)
            return True

        yield step


@contextmanager
def stoppable(
    what: str, progress: Callable[[int, int, str], bool | None] | bool
) -> Iterator[Callable[[int, int, str], bool]]:
    """Give what reports progress to: a bar (True), nothing (False) or the caller's function; a Ctrl-C
    stops the work after the part at hand."""

    def of(
        report: Callable[[int, int, str], bool | None] | None,
    ) -> Callable[[int, int, str], bool]:
        def step(done: int, total: int, task: str) -> bool:
            try:
                return report is None or report(done, total, task) is not False
            except KeyboardInterrupt:
                return False

        return step

    if progress is True:
        with progress_bar(what) as bar:
            yield of(bar)
    else:
        yield of(progress if callable(progress) else None)

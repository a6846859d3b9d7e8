"""Shared parts of the benches: peers' environments, worker processes, measuring, reporting.

Standard library only, so that a bench starts under any Python and leaves torch to its workers.
"""

from .measure import Contender, interleave
from .options import parse_options
from .peers import Peer, host_python, root
from .report import Reporter, line
from .worker import Worker, WorkerError, python_worker

__all__ = [
    "Contender",
    "Peer",
    "Reporter",
    "Worker",
    "WorkerError",
    "host_python",
    "interleave",
    "line",
    "parse_options",
    "python_worker",
    "root",
]

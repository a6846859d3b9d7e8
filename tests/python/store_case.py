"""What the store's tests share: a store with known contents, and processes that write one."""

import subprocess
import sys
import textwrap

import torch

import tierod

SITE = "layers.0.resid_post"
STREAMS = {"prefill": {SITE: (24, torch.float16)}}


def values(begin, count, width=24, dtype=torch.float16):
    """Rows that are a function of their number, so that any process can tell what must be there."""
    rows = torch.arange(begin, begin + count, dtype=torch.float64)[:, None]
    columns = torch.arange(width, dtype=torch.float64)[None, :]
    return torch.sin(rows * 0.37 + columns * 1.3).to(dtype)


def write_store(path, rows=1500, batch=100, streams=STREAMS, **options):
    options = {"shard_bytes": 20_000, **options}
    with tierod.ActivationWriter(path, streams, **options) as writer:
        for begin in range(0, rows, batch):
            count = min(batch, rows - begin)
            numbers = torch.arange(begin, begin + count)
            for stream, sites in streams.items():
                writer.append(
                    stream,
                    {"sample": numbers // 10, "group": numbers // 50, "phase": 2, "step": numbers},
                    {site: values(begin, count, *spec) for site, spec in sites.items()},
                )
    return path


def run_python(code, *arguments, check=True, under=(), **options):
    """Run `code` in a process of its own, with the same paths, `under` another program."""
    done = subprocess.run(
        [*under, sys.executable, "-W", "error", "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        **options,
    )
    if check:
        assert done.returncode == 0, done.stderr
    return done

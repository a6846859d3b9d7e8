"""Worker of the store bench: each contender writes or reads the same rows its own way.

usage: store_worker.py <data folder> <rows>

A contender's run is the whole piece of work, both sides up to fsync. `prepare` clears what an
earlier run left, drops caches where the contender's name begins with "cold", and is not timed.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import mmap
import os
import shutil
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from harness.serve import serve

FOLDER = Path(sys.argv[1])
ROWS = int(sys.argv[2])
WIDTH, BATCH, SHARD_ROWS = 576, 512, 32768
SITE = "layers.0.resid_post"
Call = Callable[[], object]


@cache
def pool() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal((BATCH, WIDTH)).astype(np.float16) for _ in range(16)]


@cache
def tensors() -> list:
    import torch

    return [torch.from_numpy(x) for x in pool()]


def batches(items: list) -> object:
    for i in range(ROWS // BATCH):
        yield items[i % 16]


def fsync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def drop(folder: Path) -> None:
    """Evict the folder's files from the page cache."""
    reader.cache_clear()  # what somebody has mapped stays
    for path in folder.rglob("*"):
        if path.is_file():
            fd = os.open(path, os.O_RDONLY)
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            _need_cold(path, fd)
            os.close(fd)


def _need_cold(path: Path, fd: int) -> None:
    size = os.fstat(fd).st_size
    with mmap.mmap(fd, size, prot=mmap.PROT_READ) as pages:
        at = np.frombuffer(pages, np.uint8)
        resident = np.empty(-(-size // mmap.PAGESIZE), np.uint8)
        ctypes.CDLL(None).mincore(
            ctypes.c_void_p(at.ctypes.data),
            ctypes.c_size_t(size),
            ctypes.c_void_p(resident.ctypes.data),
        )
        del at
    share = float(np.mean(resident & 1))
    if share > 0.01:
        raise RuntimeError(f"{share:.0%} of {path.name} is still in the page cache")


# --- writing


def raw_write() -> None:
    with open(FOLDER / "raw_write" / "x.bin", "wb", buffering=0) as file:
        for batch in batches(pool()):
            file.write(batch.data)
        os.fsync(file.fileno())


def memmap_write() -> None:
    path = FOLDER / "memmap_write" / "x.npy"
    out = np.lib.format.open_memmap(path, "w+", np.float16, (ROWS, WIDTH))
    for i, batch in enumerate(batches(pool())):
        out[i * BATCH : (i + 1) * BATCH] = batch
    out.flush()
    del out
    fsync(path)


def h5py_file(path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        data = file.create_dataset(
            "a", (0, WIDTH), "f2", maxshape=(None, WIDTH), chunks=(BATCH, WIDTH)
        )
        for i, batch in enumerate(batches(pool())):
            data.resize((i + 1) * BATCH, 0)
            data[i * BATCH :] = batch
    fsync(path)


def h5py_write() -> None:
    h5py_file(FOLDER / "h5py_write" / "x.h5")


def safetensors_write() -> None:
    from safetensors.numpy import save_file

    folder, held, number = FOLDER / "safetensors_write", [], 0

    def save() -> None:
        path = folder / f"{number:05d}.safetensors"
        save_file({"a": np.concatenate(held)}, path)
        fsync(path)

    for batch in batches(pool()):
        held.append(batch)
        if len(held) * BATCH == SHARD_ROWS:
            save()
            held, number = [], number + 1
    if held:
        save()


def tierod_store(path: Path) -> None:
    import torch

    import tierod

    streams = {"main": {SITE: (WIDTH, torch.float16)}}
    with tierod.ActivationWriter(path, streams, memory_bytes=64 << 20) as writer:
        for i, batch in enumerate(batches(tensors())):
            writer.append("main", {"sample": i}, {SITE: batch})


def tierod_write() -> None:
    tierod_store(FOLDER / "tierod_write" / "store")


# --- a forward that stores its residuals

LAYERS, TOKENS, RANK = 24, 512, 16


@cache
def light_model():
    """Blocks of low rank: they make residuals about as fast as a disk takes them."""
    import torch

    class Block(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down = torch.nn.Linear(WIDTH, RANK, bias=False)
            self.up = torch.nn.Linear(RANK, WIDTH, bias=False)

        def forward(self, x):
            return x + self.up(torch.relu(self.down(x)))

    torch.manual_seed(0)
    model = torch.nn.Sequential(*(Block() for _ in range(LAYERS))).eval()
    return model, torch.randn(1, TOKENS, WIDTH)


def forwards() -> int:
    """As many as give about the bytes of the other lines."""
    return max(1, ROWS // 2 // (LAYERS * TOKENS))


@cache
def dense_model():
    """Blocks of full rank with the arithmetic of a decoder's feed-forward part (2.7 times wide)."""
    import torch

    class Block(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = torch.nn.Linear(WIDTH, 1536, bias=False)
            self.down = torch.nn.Linear(1536, WIDTH, bias=False)

        def forward(self, x):
            return x + self.down(torch.relu(self.up(x)))

    torch.manual_seed(0)
    model = torch.nn.Sequential(*(Block() for _ in range(LAYERS))).eval()
    return model, torch.randn(1, TOKENS, WIDTH)


DENSE_FORWARDS = 4


def run_bare(model, x, count: int) -> None:
    import torch

    with torch.inference_mode():
        for _ in range(count):
            model(x)


def run_stored(model, x, count: int, folder: Path):
    import torch

    import tierod

    on = tierod.instrument(model)
    with tierod.ActivationWriter(folder / "store", memory_bytes=128 << 20) as writer:
        sink = tierod.StoreSink(writer)
        with torch.inference_mode(), on.session() as session:
            for i in range(LAYERS):
                session.capture(f"@{i}:out", sink=sink)
            for number in range(count):
                sink.begin_batch(samples=[number])
                model(x)
    return writer.stats()


def forward_bare() -> None:
    run_bare(*light_model(), forwards())


def forward_dense_bare() -> None:
    run_bare(*dense_model(), DENSE_FORWARDS)


def forward_raw() -> None:
    """What the forward's residuals are, in f32, through write() alone."""
    row = np.ones((TOKENS, WIDTH), np.float32)
    with open(FOLDER / "forward_raw" / "x.bin", "wb", buffering=0) as file:
        for _ in range(forwards() * LAYERS):
            file.write(row.data)
        os.fsync(file.fileno())


def forward_store() -> None:
    stats = run_stored(*light_model(), forwards(), FOLDER / "forward_store")
    told.update(ring_limit=128 << 20, ring_bytes=stats.ring_bytes, ring_peak=stats.ring_peak_bytes,
                waits=stats.waits)  # fmt: skip


def forward_dense_store() -> None:
    run_stored(*dense_model(), DENSE_FORWARDS, FOLDER / "forward_dense_store")


told: dict[str, int] = {}

# --- reading

MINIBATCH = 4096


@cache
def rng() -> np.random.Generator:
    return np.random.default_rng(1)


@cache
def memory():
    import torch

    out = torch.empty(ROWS, WIDTH, dtype=torch.float16)
    for i, batch in enumerate(batches(tensors())):
        out[i * BATCH : (i + 1) * BATCH] = batch
    return out


def fresh():
    import torch

    return torch.from_numpy(rng().integers(0, ROWS, MINIBATCH))


def memory_gather():
    return memory().index_select(0, fresh())


@cache
def reader():
    import tierod

    got = tierod.ActivationReader(FOLDER / "store")
    got.read("main", SITE)  # every chunk touched, and so checked, once
    return got


def tierod_gather():
    return reader().read("main", SITE, fresh())


@cache
def mapped() -> np.ndarray:
    path = FOLDER / "mapped.bin"
    if not path.exists():
        with open(path, "wb") as file:
            for batch in batches(pool()):
                file.write(batch.data)
    out = np.memmap(path, np.float16, "r", shape=(ROWS, WIDTH))
    out.sum(dtype=np.float32)  # its pages populated
    return out


def mapped_gather():
    return mapped()[fresh().numpy()]


@cache
def h5py_data():
    import h5py

    path = FOLDER / "gather.h5"
    if not path.exists():
        h5py_file(path)
    return h5py.File(path)["a"]


def h5py_gather():
    return h5py_data()[np.unique(rng().integers(0, ROWS, MINIBATCH))]


def cold_sequential() -> int:
    """Read every file of the store from its beginning to its end."""
    total = 0
    buffer = bytearray(8 << 20)
    for path in sorted((FOLDER / "store").glob("0*.h5")):
        with open(path, "rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
            while got := file.readinto(buffer):
                total += got
    return total


def cold_epoch() -> int:
    import tierod

    total = 0
    for batch in tierod.ActivationReader(FOLDER / "store").batches(
        "main", SITE, batch_rows=MINIBATCH, seed=int(rng().integers(1 << 30)), block_rows=2048
    ):
        total += batch.sites[SITE].nbytes
    return total


def open_shards():
    import tierod

    return tierod.ActivationReader(FOLDER / "many")


def open_and_touch() -> None:
    got = open_shards()
    got.read("main", SITE, slice(0, 1))


def h5py_open_each() -> None:
    import h5py

    for path in (FOLDER / "many").glob("0*.h5"):
        h5py.File(path).close()


# --- protocol


def make(what: str) -> None:
    """Make what several contenders read."""
    import torch

    import tierod

    if what == "store":
        shutil.rmtree(FOLDER / "store", ignore_errors=True)
        tierod_store(FOLDER / "store")
    elif what == "many":
        # 100 shards that were written, linked 100 times each
        few = FOLDER / "few"
        with tierod.ActivationWriter(few, {"main": {SITE: (8, torch.float16)}}) as writer:
            for i in range(100):
                writer.append("main", {"sample": i}, {SITE: torch.full((4, 8), float(i))})
                writer.flush()
        tierod.store.merge_stores([few] * 100, FOLDER / "many")


def prepare(_shape: str, label: str) -> dict:
    if label.startswith("make_"):
        make(label.removeprefix("make_"))
    elif label == "versions":
        names = ("numpy", "torch", "h5py", "safetensors")
        found = {}
        for name in names:
            try:
                found[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
        return {"versions": found}
    elif label == "told":
        return {"told": dict(told)}
    elif label.startswith("cold"):
        drop(FOLDER / "store")
    elif label.endswith("write") or label.startswith("forward"):
        shutil.rmtree(FOLDER / label, ignore_errors=True)
        (FOLDER / label).mkdir()
        os.sync()
    return {}


def check(_shape: str, label: str, _file: str) -> dict:
    """Tell whether a gather gives the rows that were asked for, or a file holds what was written."""
    global fresh
    if label == "tierod_write":
        import tierod

        got = tierod.ActivationReader(FOLDER / label / "store").read("main", SITE)
        assert got.shape == (ROWS // BATCH * BATCH, WIDTH)
        for i, batch in enumerate(batches(tensors())):
            assert got[i * BATCH : (i + 1) * BATCH].equal(batch), i
        return {}
    kept, index = fresh, fresh()
    fresh = lambda: index  # noqa: E731
    try:
        assert CALLS[label]().equal(memory().index_select(0, index))
    finally:
        fresh = kept
    return {}


CALLS: dict[str, Call] = {
    name: value
    for name, value in list(globals().items())
    if callable(value) and name.endswith(
        ("_write", "_gather", "bare", "_raw", "_store", "sequential", "epoch", "shards", "touch", "each")
    )
}  # fmt: skip


def call(_shape: str, label: str) -> Call:
    return CALLS[label]


if __name__ == "__main__":
    serve(prepare, check, call)

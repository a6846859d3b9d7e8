"""What can go wrong with a store, with real processes and files."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import h5py
import pytest
import torch
from store_case import SITE, STREAMS, run_python, values, write_store

import tierod
from tierod import store as ts

HERE = str(Path(__file__).parent)

# Imports once, then forks a writer for each path on stdin; the writer says its process number once it
# has the store, and writes until it is killed.
WRITERS = """
    import os, sys
    sys.path.insert(0, sys.argv[1])
    from store_case import SITE, STREAMS, values
    import torch, tierod
    torch.set_num_threads(1)

    def write(path):
        writer = tierod.ActivationWriter(path, STREAMS, shard_bytes=48 * 2_000)
        print(os.getpid(), flush=True)
        begin = 0
        while True:
            count = 1 + begin % 257
            numbers = torch.arange(begin, begin + count)
            writer.append("prefill", {"sample": numbers}, {SITE: values(begin, count)})
            begin += count
            if begin % 5 == 0:
                writer.flush()

    while path := sys.stdin.readline().strip():
        child = os.fork()
        if child == 0:
            write(path)
        _, status = os.waitpid(child, 0)
        print(os.WTERMSIG(status), flush=True)
"""


def check_after_kill(path):
    """The store opens, every committed row is byte for byte what it should be, and recover leaves a
    store without fault. Return (rows kept, rows lost)."""
    reader = tierod.ActivationReader(path)
    rows = reader.row_count("prefill")
    assert torch.equal(
        reader.read("prefill", SITE).view(torch.int16), values(0, rows).view(torch.int16)
    )
    assert torch.equal(reader.column("prefill", "sample"), torch.arange(rows))
    report = ts.recover_store(path)
    kept, lost = report.rows_kept["prefill"], report.rows_lost.get("prefill", 0)
    assert kept >= rows
    assert kept - rows <= 4_500  # a finished shard or two that the manifest did not know yet
    reader = tierod.ActivationReader(path)
    assert torch.equal(reader.read("prefill", SITE), values(0, kept))
    found = ts.verify_store(path)
    assert found.ok, found.errors
    assert not list(Path(path).glob("*.tmp"))
    return kept, lost


def kill_at_random_points(tmp_path, times, seed):
    """Kill so many writers, check what each left, and return how many rows were lost in all."""
    chance = random.Random(seed)
    lost_any = 0
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITERS), HERE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as writers:
        for number in range(times):
            path = tmp_path / f"store{number}"
            writers.stdin.write(f"{path}\n")
            writers.stdin.flush()
            process = int(writers.stdout.readline())
            time.sleep(chance.uniform(0.0, 0.25))
            os.kill(process, signal.SIGKILL)
            assert int(writers.stdout.readline()) == signal.SIGKILL
            kept, lost = check_after_kill(path)
            lost_any += lost
            # the dead process' lock does not hold, and the next writer goes on where it ended
            with tierod.ActivationWriter(path, append=True) as writer:
                numbers = torch.arange(kept, kept + 3)
                writer.append("prefill", {"sample": numbers}, {SITE: values(kept, 3)})
            got = tierod.ActivationReader(path).read("prefill", SITE)
            assert torch.equal(got, values(0, kept + 3))
            shutil.rmtree(path)
        writers.stdin.close()
    return lost_any


def test_kill_at_random_points(tmp_path):
    # or no kill ever met an open shard
    assert kill_at_random_points(tmp_path, 5, seed=1) > 0


@pytest.mark.slow
def test_kill_at_fifty_random_points(tmp_path):
    assert kill_at_random_points(tmp_path, 50, seed=2) > 0


def test_recover_counts_the_lost_rows_exactly(tmp_path):
    """So many rows were appended when the process died; so many are in the store."""
    code = """
        import os, signal, sys
        sys.path.insert(0, sys.argv[2])
        from store_case import SITE, STREAMS, values
        import tierod
        writer = tierod.ActivationWriter(sys.argv[1], STREAMS)
        writer.append("prefill", {"sample": 1}, {SITE: values(0, 1000)})
        writer.flush()
        writer.append("prefill", {"sample": 1}, {SITE: values(1000, 777)})
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = run_python(code, tmp_path / "s", HERE, check=False)
    assert done.returncode == -signal.SIGKILL
    with pytest.raises(tierod.IoError, match="recover"):
        tierod.ActivationWriter(tmp_path / "s", append=True)
    report = ts.recover_store(tmp_path / "s")
    assert report.rows_kept == {"prefill": 1000}
    assert report.rows_lost == {"prefill": 777}
    assert ts.recover_store(tmp_path / "s").rows_lost == {}


# --- no room ---------------------------------------------------------------------------------------


def limited_writer(path, what):
    """Write in a process whose files may have 2 MB; `what` is how the rows get there."""
    code = f"""
        import sys
        sys.path.insert(0, sys.argv[2])
        from store_case import SITE, STREAMS, values
        import tierod, torch
        {what}
    """
    return run_python(
        code,
        path,
        HERE,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000)),
    )


def test_a_full_disk_is_a_clear_error_and_committed_rows_stay(tmp_path):
    path = tmp_path / "s"
    done = limited_writer(
        path,
        """
        writer = tierod.ActivationWriter(sys.argv[1], STREAMS, memory_bytes=1 << 22)
        writer.append("prefill", {"sample": 1}, {SITE: values(0, 1000)})
        writer.flush()
        print("committed")
        try:
            for begin in range(1000, 200_000, 1000):
                writer.append("prefill", {"sample": 1}, {SITE: values(begin, 1000)})
            writer.flush()
        except tierod.IoError as error:
            print(error)
        try:
            writer.close()
        except tierod.IoError as error:
            print("close:", error)
        """,
    )
    # the process ends in peace: HDF5 does not choke on what it could not write
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0] == "committed"
    assert "File too large" in lines[1]
    assert "ulimit" in lines[1]
    assert lines[2].startswith("close: ")
    assert torch.equal(tierod.ActivationReader(path).read("prefill", SITE), values(0, 1000))
    assert not list(path.glob("*.tmp"))
    found = ts.verify_store(path)
    assert found.ok, found.errors


def test_a_full_disk_ends_the_models_run_cleanly(tmp_path):
    path = tmp_path / "s"
    done = limited_writer(
        path,
        """
        from torch import nn
        model = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 64)).eval()
        on = tierod.instrument(model)
        x = torch.randn(2000, 64)
        with torch.no_grad():
            before = model(x)
        writer = tierod.ActivationWriter(sys.argv[1], memory_bytes=1 << 22)
        sink = tierod.StoreSink(writer)
        try:
            for batch in range(200):
                sink.begin_batch(samples=range(2000))
                with torch.no_grad(), on.session() as session:
                    session.capture("@0:out", sink=sink)
                    model(x)
        except tierod.IoError as error:
            print(type(error).__name__, error)
        assert tierod._core.open_session_count() == 0
        with torch.no_grad():
            assert torch.equal(model(x), before)
        try:
            writer.close()
        except tierod.IoError:
            print("closed")
        """,
    )
    assert done.returncode == 0, done.stderr
    assert "IoError [store.ActivationWriter] cannot write" in done.stdout
    assert done.stdout.rstrip().endswith("closed")


def test_a_full_file_system_is_an_error_and_not_the_end_of_the_process(tmp_path):
    """A tmpfs of 2 MB in a mount namespace of its own. Before the first write, when a shard does not
    fit, and when the lock file's pages are touched at the end."""
    code = """
        import faulthandler, os, subprocess, sys
        faulthandler.enable()
        sys.path.insert(0, sys.argv[2])
        folder = sys.argv[1]
        os.mkdir(folder)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=True)
        from store_case import SITE, STREAMS, values
        import tierod, torch
        store = folder + "/store"
        writer = tierod.ActivationWriter(store, STREAMS)
        writer.append("prefill", {"sample": 1}, {SITE: values(0, 1000)})
        writer.flush()
        try:
            for begin in range(1000, 200_000, 1000):
                writer.append("prefill", {"sample": 1}, {SITE: values(begin, 1000)})
            writer.flush()
        except tierod.IoError as error:
            print(error)
        def fill():
            with open(folder + "/rest", "ab", buffering=0) as rest:
                try:
                    while rest.write(bytes(4096)):
                        pass
                except OSError:
                    pass
        fill()
        try:
            writer.close()
        except tierod.IoError as error:
            print(error)
        fill()
        try:
            tierod.ActivationWriter(folder + "/second", STREAMS)
        except tierod.IoError as error:
            print(error)
        os.remove(folder + "/rest")
        assert torch.equal(tierod.ActivationReader(store).read("prefill", SITE), values(0, 1000))
        assert tierod.store.verify_store(store).ok
    """
    unshare = ["unshare", "--mount", *([] if os.getuid() == 0 else ["--map-root-user"])]
    done = run_python(code, tmp_path / "disk", HERE, under=unshare)
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    for line in lines:
        assert "No space left on device" in line
        assert "free space" in line
    assert done.stderr == ""


def test_a_fork_leaves_its_parents_writer_alone(tmp_path):
    code = """
        import os, sys
        sys.path.insert(0, sys.argv[2])
        from store_case import SITE, STREAMS, values
        import tierod
        writer = tierod.ActivationWriter(sys.argv[1], STREAMS)
        writer.append("prefill", {"sample": 1}, {SITE: values(0, 10)})
        child = os.fork()
        if child == 0:
            for call in (
                lambda: writer.append("prefill", {"sample": 1}, {SITE: values(0, 10)}),
                writer.flush,
                writer.close,
            ):
                try:
                    call()
                except tierod.StateError as error:
                    assert "of which this one is a fork" in str(error)
                    print("refused", flush=True)
            tierod.store.set_labels(sys.argv[1], "c", [1], [1])  # HDF5 works here as well
            sys.exit(7)  # not os._exit: handlers run and objects are destroyed
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        writer.append("prefill", {"sample": 1}, {SITE: values(10, 10)})
        writer.close()
    """
    done = run_python(code, tmp_path / "s", HERE)
    assert done.stdout.split() == ["refused"] * 3
    assert done.stderr == ""
    assert torch.equal(tierod.ActivationReader(tmp_path / "s").read("prefill", SITE), values(0, 20))
    assert ts.get_labels(str(tmp_path / "s"), "c").samples == [1]


def test_a_shard_that_the_manifest_does_not_know_is_not_written_over(tmp_path):
    path = write_store(tmp_path / "s")
    before = (path / "manifest.json").read_bytes()
    with tierod.ActivationWriter(path, append=True) as writer:
        writer.append("prefill", {"sample": 1}, {SITE: values(1500, 40)})
    (path / "manifest.json").write_bytes(before)  # the crash came before its replacement,
    (path / "lock").unlink()  # and the store was copied without its lock
    with pytest.raises(tierod.IoError, match="recover"):
        tierod.ActivationWriter(path, append=True)
    assert ts.recover_store(path).rows_kept == {"prefill": 1540}
    tierod.ActivationWriter(path, append=True).close()
    assert torch.equal(tierod.ActivationReader(path).read("prefill", SITE), values(0, 1540))


def test_recover_leaves_other_peoples_files(tmp_path):
    path = write_store(tmp_path / "s", 100)
    (path / "mine.tmp").write_text("mine")
    for name in ("000007.h5.tmp", "manifest.json.1.2.tmp", "index.h5.1.tmp"):
        (path / name).write_text("half")
    assert len(ts.recover_store(path).actions) == 3
    assert (path / "mine.tmp").read_text() == "mine"
    assert not list(path.glob("*.*.tmp"))


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path):
    """As another user where the tests run as root, for whom no folder is read-only."""
    store = write_store(tmp_path / "store", 200)
    tmp_path.chmod(0o755)
    for folder in (store, tmp_path):
        folder.chmod(0o555)
    code = """
        import os, sys
        sys.path.insert(0, sys.argv[2])
        from store_case import SITE, STREAMS, values
        import tierod, torch
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        for path in (sys.argv[1], os.path.dirname(sys.argv[1]) + "/new"):
            try:
                tierod.ActivationWriter(path, STREAMS, append=True)
            except tierod.IoError as error:
                print(error)
        reader = tierod.ActivationReader(sys.argv[1])
        assert torch.equal(reader.read("prefill", SITE), values(0, 200))
        print(tierod.store.verify_store(sys.argv[1]).ok)
    """
    for parent in tmp_path.parents:
        if parent.stat().st_mode & 0o005 != 0o005 and parent.stat().st_uid == os.getuid():
            parent.chmod(parent.stat().st_mode | 0o055)
    try:
        done = run_python(code, store, HERE)
    finally:
        for folder in (tmp_path, store):
            folder.chmod(0o755)
    first, second, intact = done.stdout.splitlines()
    assert "Permission denied" in first
    assert "choose a folder that you may write" in first
    assert "Permission denied" in second
    assert intact == "True"


# --- shards that are not what they were -----------------------------------------------------------


@pytest.mark.parametrize("damage", ["truncated", "flipped", "foreign", "empty", "gone"])
def test_a_damaged_shard_is_named_before_hdf5_sees_it(tmp_path, damage):
    path = write_store(tmp_path / "store")
    shard = path / "000001.h5"
    content = shard.read_bytes()
    if damage == "truncated":
        shard.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":  # a byte of HDF5's superblock
        shard.write_bytes(content[:9] + bytes([content[9] ^ 1]) + content[10:])
    elif damage == "foreign":
        with h5py.File(shard, "w") as file:
            file["x"] = [1, 2, 3]
    elif damage == "empty":
        shard.write_bytes(b"")
    else:
        shard.unlink()
    reader = tierod.ActivationReader(path)  # opens: shards are looked at when they are touched
    with pytest.raises(tierod.IoError, match=r"000001\.h5"):
        reader.read("prefill", SITE)
    assert torch.equal(reader.read("prefill", SITE, slice(0, 100)), values(0, 100))
    assert [file for file, _ in ts.verify_store(path).errors] == ["000001.h5"]
    report = ts.recover_store(path)
    assert report.shards_kept == reader.shard_count - 1
    assert ts.verify_store(path).ok


def test_a_lost_manifest_is_rebuilt(tmp_path):
    path = write_store(tmp_path / "store", provenance={"model": "m"})
    before = (path / "manifest.json").read_text()
    (path / "manifest.json").unlink()
    with pytest.raises(tierod.IoError, match="recover"):
        tierod.ActivationReader(path)
    assert ts.recover_store(path).manifest_rebuilt
    assert (path / "manifest.json").read_text() == before


def test_a_writer_that_is_not_closed_commits_at_exit(tmp_path):
    code = """
        import sys
        sys.path.insert(0, sys.argv[2])
        from store_case import SITE, STREAMS, values
        import tierod
        writer = tierod.ActivationWriter(sys.argv[1], STREAMS)
        writer.append("prefill", {"sample": 1}, {SITE: values(0, 10)})
    """
    run_python(code, tmp_path / "s", HERE)
    assert torch.equal(tierod.ActivationReader(tmp_path / "s").read("prefill", SITE), values(0, 10))


def test_an_exception_in_the_block_keeps_what_was_complete(tmp_path):
    with pytest.raises(ZeroDivisionError):
        with tierod.ActivationWriter(tmp_path / "s", STREAMS) as writer:
            writer.append("prefill", {"sample": 1}, {SITE: values(0, 10)})
            writer.append_rows("prefill", 5, {"sample": 2})
            raise ZeroDivisionError
    assert tierod.ActivationReader(tmp_path / "s").row_count("prefill") == 10

"""The command line `tierod store ...`."""

import contextlib
import json
import os
import pty
import re
import subprocess
import sys

import pytest
from click.testing import CliRunner
from store_case import SITE, write_store

from tierod import cli
from tierod import store as ts


def run(*args):
    return CliRunner().invoke(cli.main, ["store", *map(str, args)])


def loads(result):
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def store(tmp_path):
    return write_store(tmp_path / "store", provenance={"model": "m"})


def test_stat(store):
    ts.set_labels(store, "stop", [1], [0])
    got = loads(run("stat", store, "--json"))
    assert got["streams"] == [
        {
            "name": "prefill",
            "rows": 1500,
            "sites": [{"site": SITE, "width": 24, "dtype": "float16"}],
        }
    ]
    assert got["concepts"] == ["stop"]
    assert got["provenance"] == {"model": "m"}
    text = run("stat", store).output
    for part in ("prefill: 1500 rows", SITE, "float16", "stop", "model: m"):
        assert part in text


def test_verify_exits_with_1_on_a_difference(store):
    assert loads(run("verify", store, "--json"))["ok"] is True
    assert "intact" in run("verify", store).output
    shard = store / "000001.h5"
    content = bytearray(shard.read_bytes())
    content[5000] ^= 1
    shard.write_bytes(bytes(content))
    result = run("verify", store, "--json")
    assert result.exit_code == 1
    assert [e["file"] for e in json.loads(result.stdout)["errors"]] == ["000001.h5"]
    assert "1 errors" in run("verify", store).output


def test_recover_says_what_it_did(store):
    (store / "000001.h5").write_bytes(b"")
    got = loads(run("recover", store, "--json"))
    assert got["actions"][0]["file"] == "000001.h5"
    assert got["rows_kept"]["prefill"] < 1500
    assert "kept" in run("recover", store).output


def test_merge(store, tmp_path):
    other = write_store(tmp_path / "other", 100)
    result = run("merge", store, other, tmp_path / "merged")
    assert result.exit_code == 2
    assert "provenance" in result.stderr
    twin = write_store(tmp_path / "twin", 100, provenance={"model": "m"})
    got = loads(run("merge", store, twin, tmp_path / "merged", "--json"))
    assert got["rows"] == {"prefill": 1600}
    assert got["referenced"] == 0
    got = loads(run("merge", store, twin, tmp_path / "by_reference", "--reference", "--json"))
    assert got["linked"] == 0


def test_export(store, tmp_path):
    got = loads(run("export", store, tmp_path / "npy", "--site", SITE, "--json"))
    assert len(got["files"]) == 12
    assert run("export", store, tmp_path / "npy", "--site", "nothing").exit_code == 2


def test_bad_input_is_said_on_stderr_in_one_line(tmp_path):
    for verb in ("stat", "recover"):
        result = run(verb, tmp_path / "nothing")
        assert result.exit_code == 2
        assert result.stdout == ""
        assert result.stderr.startswith("tierod: [store.")
    assert run("verify", tmp_path / "nothing").exit_code == 1
    assert run("no-such-verb").exit_code == 2


def test_ctrl_c_is_exit_4(store, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(ts, "verify_store", interrupted)
    result = run("verify", store)
    assert result.exit_code == 4
    assert "interrupted" in result.stderr


def test_verbs_show_a_bar_on_a_terminal_and_nothing_on_a_pipe(store, tmp_path):
    program = [sys.executable, "-c", "from tierod.cli import main; main()", "store"]
    for verb in (
        ["verify", store],
        ["merge", store, tmp_path / "merged"],
        ["export", store, tmp_path / "npy"],
        ["recover", store],
    ):
        terminal, side = pty.openpty()
        done = subprocess.run(
            [*program, *map(str, verb)],
            stdin=side,
            stdout=subprocess.PIPE,
            stderr=side,
            env=os.environ | {"TERM": "xterm", "COLUMNS": "100"},
            check=True,
        )
        os.close(side)
        shown = b""
        with contextlib.suppress(OSError):  # what Linux says at the end of a terminal
            while part := os.read(terminal, 65536):
                shown += part
        os.close(terminal)
        text = shown.decode()
        assert verb[0] in text
        assert "━" in text
        assert re.search(r"\d+/\d+", text)
        assert done.stdout.strip()
        assert "━" not in done.stdout.decode()
    quiet = subprocess.run([*program, "verify", str(store)], capture_output=True, check=True)
    assert quiet.stderr == b""


def test_progress_comes_from_the_library(store):
    seen = []
    report = ts.verify_store(store, lambda done, total, what: seen.append((done, total, what)))
    assert report.complete
    assert seen[0] == (0, report.shards, "verify")
    assert seen[-1] == (report.shards, report.shards, "verify")
    assert not ts.verify_store(store, lambda *_: False).complete

    def broken(*_):
        raise KeyError("from Python")

    with pytest.raises(KeyError, match="from Python"):
        ts.verify_store(store, broken)

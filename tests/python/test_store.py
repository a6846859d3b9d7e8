"""The activation store, held against h5py, NumPy and plain loops."""

import json
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest
import torch
from store_case import SITE, STREAMS, run_python, values, write_store

import tierod
from tierod import store as ts

MIXED = {
    "prefill": {
        "a": (24, torch.float16),
        "b": (7, torch.float32),
        "vlm.layers.3.resid_post": (33, torch.bfloat16),
    },
    "denoise": {"d": (5, torch.bfloat16)},
}


@pytest.fixture
def store(tmp_path):
    return write_store(tmp_path / "store")


def bits(x):
    return x.view({2: torch.int16, 4: torch.int32}[x.element_size()])


# --- what others read -------------------------------------------------------------------------------


def test_h5py_reads_every_shard_and_the_index(tmp_path):
    path = write_store(tmp_path / "store", 1234, 77, MIXED, provenance={"model": "m"})
    shards = sorted(path.glob("0*.h5"))
    assert len(shards) > 3
    for stream, sites in MIXED.items():
        with h5py.File(path / "index.h5") as index:
            steps = index[f"/{stream}/rows/step"][:]
            samples = index[f"/{stream}/rows/sample"][:]
            whole = {site: index[f"/{stream}/sites/{site}"][:] for site in sites}
            assert index.attrs["provenance.model"] == "m"
        assert (steps == np.arange(1234)).all()
        assert (samples == np.arange(1234) // 10).all()
        parts = {site: [] for site in sites}
        for shard in shards:
            with h5py.File(shard) as file:
                assert file.attrs["format"] == "tierod-store/1"
                for site in sites:
                    parts[site].append(file[f"/{stream}/sites/{site}"][:])
        for site, (width, dtype) in sites.items():
            want = values(0, 1234, width, dtype).float().numpy()
            for got in (np.concatenate(parts[site]), whole[site]):
                assert got.shape == (1234, width)
                assert (got.astype(np.float32) == want).all(), site


def test_bf16_reads_as_float32_with_special_values_right(tmp_path):
    special = torch.tensor(
        [[0.0, -0.0, 1.0, -2.5], [float("inf"), float("-inf"), float("nan"), 3.4e38],
         [1e-38, 1e-40, -1e-40, 65504.0], [0.1, 255.0, 256.0, 257.0]]
    )  # fmt: skip
    for dtype in (torch.bfloat16, torch.float16):
        path = tmp_path / str(dtype)
        with tierod.ActivationWriter(path, {"s": {"x": (4, dtype)}}) as writer:
            writer.append("s", {"sample": 0}, {"x": special.to(dtype)})
        want = special.to(dtype).float().numpy()
        with h5py.File(path / "index.h5") as index:
            got = index["/s/sites/x"][:].astype(np.float32)
        np.testing.assert_array_equal(got, want)
        assert (np.signbit(got) == np.signbit(want)).all()
        assert torch.equal(
            bits(tierod.ActivationReader(path).read("s", "x")), bits(special.to(dtype))
        )


def test_a_missing_shard_reads_as_nan_and_minus_one_in_the_index(store):
    with h5py.File(store / "000000.h5") as file:
        first = len(file["/prefill/rows/sample"])
    with h5py.File(store / "000001.h5") as file:
        count = len(file["/prefill/rows/sample"])
    (store / "000001.h5").unlink()
    with h5py.File(store / "index.h5") as index:
        got, step = index[f"/prefill/sites/{SITE}"][:], index["/prefill/rows/step"][:]
    gone = slice(first, first + count)
    assert np.isnan(got[gone]).all()
    assert (step[gone] == -1).all()
    rest = np.delete(np.arange(1500), np.arange(first, first + count))
    assert (got[rest] == values(0, 1500).numpy()[rest]).all()
    report = ts.verify_store(store)
    assert [file for file, _ in report.errors] == ["000001.h5"]


def test_the_index_follows_its_folder(store, tmp_path):
    moved = tmp_path / "elsewhere"
    store.rename(moved)
    with h5py.File(moved / "index.h5") as index:
        assert (index[f"/prefill/sites/{SITE}"][:] == values(0, 1500).numpy()).all()


def test_a_missing_shard_is_never_another_stores_shard(store, tmp_path, monkeypatch):
    """HDF5 looks for a shard beside the index and then in the current folder: there is one of the
    same name there, with rows of another store."""
    other = write_store(tmp_path / "other", 1500)
    (store / "000001.h5").unlink()
    monkeypatch.chdir(other)
    with h5py.File(store / "index.h5") as index:
        first = len(h5py.File("000000.h5")["/prefill/rows/sample"])
        rows = index[f"/prefill/sites/{SITE}"]
        assert (rows[:first] == values(0, first).numpy()).all()
        try:
            got = rows[first : first + 10]
        except OSError:
            return  # HDF5 2.0 says that the file there lacks what the index wants
        assert np.isnan(got).all()


@pytest.mark.parametrize("order", ["import h5py, tierod", "import tierod, h5py"])
def test_h5py_and_tierod_in_one_process(order, tmp_path):
    """Both bring an HDF5 of their own; both read and write, with files of the other open."""
    code = f"""
        {order}
        import sys, torch
        sys.path.insert(0, sys.argv[2])
        from store_case import SITE, values, write_store
        path = write_store(sys.argv[1])
        with h5py.File(path + "/index.h5") as index, h5py.File(path + "/mine.h5", "w") as mine:
            reader = tierod.ActivationReader(path)
            mine["x"] = index["/prefill/sites/" + SITE][:]
            assert (mine["x"][:] == reader.read_numpy("prefill", SITE)).all()
            tierod.store.set_labels(path, "c", [0, 1], [0, 1])
            assert tierod.store.verify_store(path).ok
            try:
                h5py.File(path + "/manifest.json")
                raise SystemExit("h5py opened a text file")
            except OSError:
                pass
        with h5py.File(path + "/labels/c.h5") as labels:
            assert list(labels["/v1/label"][:]) == [0, 1]
    """
    run_python(code, tmp_path / "store", __file__.rsplit("/", 1)[0])


# --- reading ---------------------------------------------------------------------------------------


def test_numpy_and_tensors_by_slice_and_number(store):
    reader = tierod.ActivationReader(store)
    want = values(0, 1500)
    assert torch.equal(reader.read("prefill", SITE), want)
    assert torch.equal(reader.read("prefill", SITE, slice(700, 900)), want[700:900])
    assert torch.equal(reader.read("prefill", SITE, slice(-10, None)), want[-10:])
    numbers = np.random.default_rng(0).integers(0, 1500, 333)
    assert (reader.read_numpy("prefill", SITE, numbers) == want.numpy()[numbers]).all()
    table = reader.rows("prefill")
    assert set(table) == set(ts.ROW_COLUMNS)
    assert (table["step"] == np.arange(1500)).all()
    assert (table["token_id"] == -1).all()
    assert reader.sites("prefill") == [SITE]
    with pytest.raises(tierod.InvalidArgument, match="step 1"):
        reader.read("prefill", SITE, slice(0, 10, 2))
    with pytest.raises(tierod.SiteError, match=SITE):
        reader.read("prefill", "layers.0.resid_pst")
    with pytest.raises(tierod.OutOfRange):
        reader.read("prefill", SITE, [1500])


def test_a_mask_means_the_rows_where_it_is_true(store):
    reader = tierod.ActivationReader(store)
    mask = np.random.default_rng(1).random(1500) < 0.1
    want = values(0, 1500).numpy()[mask]
    assert (reader.read_numpy("prefill", SITE, mask) == want).all()
    assert torch.equal(reader.read("prefill", SITE, torch.from_numpy(mask)), torch.from_numpy(want))
    [batch] = reader.batches("prefill", rows=mask)
    assert (batch.rows.numpy() == np.flatnonzero(mask)).all()
    assert (batch.sites[SITE].numpy() == want).all()
    assert reader.read("prefill", SITE, []).shape == (0, 24)
    for short in (mask[:-1], mask[:, None]):
        with pytest.raises(tierod.InvalidArgument, match=r"bool mask \[1500\]"):
            reader.read("prefill", SITE, short)


def test_numbers_that_would_be_rounded_are_refused(store, tmp_path):
    reader = tierod.ActivationReader(store)
    half = np.array([0.5])
    with tierod.ActivationWriter(tmp_path / "new", STREAMS) as writer:
        sink = tierod.StoreSink(writer)
        refused = [
            lambda: reader.read("prefill", SITE, half),
            lambda: list(reader.batches("prefill", rows=half)),
            lambda: ts.set_labels(store, "stop", half, [1]),
            lambda: ts.set_labels(store, "stop", [1], half),
            lambda: ts.set_labels(store, "stop", [1], [float("nan")]),
            lambda: sink.begin_batch(samples=half),
            lambda: sink.begin_batch(samples=[1], scenes=half),
            lambda: sink.begin_batch(samples=[1], groups=half),
            lambda: tierod.MomentsSink().begin_batch(samples=half),
            lambda: writer.append("prefill", {"sample": half}, {SITE: values(0, 1)}),
        ]
        for call in refused:
            with pytest.raises(tierod.InvalidArgument, match="integer"):
                call()
        with pytest.raises(TypeError):
            reader.select("prefill", samples=[0.5])
    assert ts.label_concepts(str(store)) == []


def test_select_is_numpys_where(store):
    ts.set_labels(store, "stop", np.arange(0, 150, 2), np.arange(75) % 2, note="by hand")
    reader = tierod.ActivationReader(store)
    table = reader.rows("prefill")
    assert (reader.select("prefill", groups=[3, 4]).numpy()
            == np.flatnonzero(np.isin(table["group"], [3, 4]))).all()  # fmt: skip
    mask = table["step"] % 7 == 0
    assert (reader.select("prefill", mask=mask).numpy() == np.flatnonzero(mask)).all()
    got = reader.select("prefill", concept="stop", label=1, phases="prefill")
    assert (got.numpy() == np.flatnonzero(table["sample"] % 4 == 2)).all()
    labels = reader.row_labels("prefill", "stop").numpy()
    want = np.where(table["sample"] % 2 == 1, 255, table["sample"] // 2 % 2)
    assert (labels == want).all()
    assert ts.get_labels(str(store), "stop").note == "by hand"
    assert ts.label_concepts(str(store)) == ["stop"]


@pytest.mark.parametrize("block_rows", [0, 64])
def test_shuffled_batches_are_a_permutation(store, block_rows):
    reader = tierod.ActivationReader(store)
    want = values(0, 1500)
    seen = []
    batches = reader.batches("prefill", batch_rows=128, seed=3, block_rows=block_rows)
    assert len(batches) == 12
    for batch in batches:
        assert torch.equal(batch.sites[SITE], want[batch.rows])
        assert (batch.numpy()[SITE] == want[batch.rows].numpy()).all()
        seen += batch.rows.tolist()
    assert seen != sorted(seen)
    assert sorted(seen) == list(range(1500))
    # Neighbours in the order are far apart: the mean distance of a random order is a third.
    if block_rows == 0:
        assert 0.3 < np.abs(np.diff(seen)).mean() / 1500 < 0.37


def test_a_reader_follows_a_writer_in_another_process(tmp_path):
    code = """
        import sys
        sys.path.insert(0, sys.argv[2])
        from store_case import SITE, STREAMS, values
        import tierod
        with tierod.ActivationWriter(sys.argv[1], STREAMS) as writer:
            for part in range(4):
                writer.append("prefill", {"sample": part}, {SITE: values(100 * part, 100)})
                writer.flush()
                print(part, flush=True)
                sys.stdin.readline()
    """
    path, here = tmp_path / "store", __file__.rsplit("/", 1)[0]
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(path), here],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        reader = None
        for part in range(4):
            assert process.stdout.readline() == f"{part}\n"
            reader = reader or tierod.ActivationReader(path)
            reader.refresh()
            assert torch.equal(reader.read("prefill", SITE), values(0, 100 * (part + 1)))
            with pytest.raises(tierod.StateError, match="has a writer already"):
                tierod.ActivationWriter(path, STREAMS, append=True)
            process.stdin.write("\n")
            process.stdin.flush()
    assert process.returncode == 0


def test_many_readers_see_whole_shards_while_a_writer_appends(tmp_path):
    """Threads that share nothing and one reader that threads share, refreshed all the time: whatever
    they see are rows in their places."""
    path = tmp_path / "store"
    writer = tierod.ActivationWriter(path, STREAMS, shard_bytes=30_000)
    shared = tierod.ActivationReader(path)
    done, seen = threading.Event(), []

    def read(reader):
        last = False
        while not last:
            last = done.is_set()
            before = reader.row_count("prefill")
            reader.refresh()
            rows = reader.row_count("prefill")
            assert rows >= before  # whoever refreshes beside us has not looked earlier than we have
            got = reader.read("prefill", SITE, slice(0, rows))
            assert torch.equal(got, values(0, rows))
            samples = reader.column("prefill", "sample")
            assert torch.equal(samples, torch.arange(len(samples)))
            ends = sorted({0, rows - 1} if rows else set())
            assert reader.select("prefill", samples=ends).tolist() == ends
            seen.append(rows)

    readers = [shared, shared, tierod.ActivationReader(path), tierod.ActivationReader(path)]
    with ThreadPoolExecutor(len(readers)) as pool:
        running = [pool.submit(read, reader) for reader in readers]
        begin = 0
        for batch in range(300):
            count = 1 + batch % 97
            numbers = torch.arange(begin, begin + count)
            writer.append("prefill", {"sample": numbers}, {SITE: values(begin, count)})
            begin += count
        writer.close()
        done.set()
        for reader in running:
            reader.result(timeout=60)
    assert len(set(seen)) > 2
    assert max(seen) == begin


# --- sinks -----------------------------------------------------------------------------------------


def test_a_session_streams_a_model_into_a_store(llama, ids, tmp_path):
    model = tierod.instrument(llama)
    dtype = llama.dtype
    want = {}
    with tierod.ActivationWriter(tmp_path / "s", provenance={"model": "tiny"}) as writer:
        sink = tierod.StoreSink(writer)
        for batch in range(3):
            tokens = (ids + batch) % 50
            _, cache = tierod.run_with_cache(llama, tokens, names_filter="**.resid_post")
            for name in cache:
                want.setdefault(name, []).append(cache[name].reshape(-1, 16))
            with model.session() as session:
                session.capture("**.resid_post", sink=sink)
                sink.begin_batch(samples=[2 * batch, 2 * batch + 1], token_ids=tokens)
                with torch.no_grad():
                    llama(tokens)
            assert len(session.cache) == 0
    reader = tierod.ActivationReader(tmp_path / "s")
    [stream] = [s.name for s in reader.streams]
    assert len(reader.sites(stream)) == 3
    for site in reader.sites(stream):
        assert reader.read(stream, site).dtype == dtype
        assert torch.equal(reader.read(stream, site), torch.cat(want[site]))
    assert reader.column(stream, "sample").tolist() == [s for s in range(6) for _ in range(5)]
    tokens = torch.cat([((ids + b) % 50).flatten() for b in range(3)])
    assert torch.equal(reader.column(stream, "token_id"), tokens)


def test_moments_by_fold_are_numpys(tmp_path):
    rng = np.random.default_rng(0)
    sink = tierod.MomentsSink(folds=3, seed=1)
    xs, zs, folds = [], [], []
    for batch in range(8):
        x = torch.from_numpy(rng.normal(size=(4, 6, 5)) * 3 + 10).float()
        z = rng.integers(0, 2, (4, 2)).astype(float)
        z[rng.random((4, 2)) < 0.3] = np.nan
        sink.begin_batch(samples=range(4 * batch, 4 * batch + 4), groups=[batch] * 4, labels=z)
        with tierod.Session() as session:
            session.capture("a", sink=sink)
            tierod.hook_point(x, "a")
        xs.append(x.double().numpy().reshape(-1, 5))
        zs.append(z.repeat(6, axis=0))
        folds += [ts.fold_of_group(batch, 3, 1)] * 24
    x, z, folds = np.concatenate(xs), np.concatenate(zs), np.array(folds)
    result = sink.result()
    for fold in range(3):
        inside = folds != fold
        moments = result.moments_without("a", fold)
        np.testing.assert_allclose(moments.mean(), x[inside].mean(0), rtol=1e-9)
        np.testing.assert_allclose(moments.covariance(), np.cov(x[inside].T), rtol=1e-7)
        cross = result.cross_without("a", fold)
        for concept in range(2):
            known = inside & ~np.isnan(z[:, concept])
            both = np.cov(np.column_stack([z[known, concept], x[known]]).T)
            assert cross.count()[concept] == known.sum()
            np.testing.assert_allclose(cross.cross_covariance()[concept], both[0, 1:], rtol=1e-7)
            np.testing.assert_allclose(cross.label_variance()[concept], both[0, 0], rtol=1e-9)


@pytest.mark.parametrize("column", ["scene", "group"])
def test_streamed_folds_hold_whole_scenes(tmp_path, column):
    scene = np.arange(60) // 10
    x = np.random.default_rng(0).normal(size=(60, 3))
    path = tmp_path / "store"
    with tierod.ActivationWriter(path, {"main": {"a": (3, torch.float32)}}) as writer:
        writer.append("main", {"sample": range(60), column: scene}, {"a": x.astype(np.float32)})
    sink = tierod.MomentsSink(folds=5)
    sink.begin_batch(samples=range(60), **{f"{column}s": scene})
    with tierod.Session() as session:
        session.capture("a", sink=sink)
        tierod.hook_point(torch.from_numpy(x), "a")
    wanted = [0] * 5
    for s in range(6):
        wanted[ts.fold_of_group(s, 5, 0)] += 10
    for got in (tierod.ActivationReader(path).moments("main", folds=5), sink.result()):
        assert [got.moments("a", fold).count for fold in range(5)] == wanted


def test_labels_of_the_store_are_missing_at_255_in_moments_too():
    x = torch.randn(4, 3, dtype=torch.float64)
    results = []
    for labels in (
        np.array([[0.0], [1.0], [np.nan], [1.0]]),
        np.array([[0], [1], [255], [1]], dtype=np.uint8),
    ):
        sink = tierod.MomentsSink(folds=1)
        sink.begin_batch(samples=range(4), labels=labels)
        with tierod.Session() as session:
            session.capture("a", sink=sink)
            tierod.hook_point(x[:, None], "a")
        results.append(sink.result().cross("a", 0))
    floats, bytes_ = results
    assert floats.count() == bytes_.count() == 3
    assert torch.equal(
        torch.as_tensor(floats.cross_covariance()), torch.as_tensor(bytes_.cross_covariance())
    )


# --- plan, merge, export ---------------------------------------------------------------------------


def test_plan_prints_bytes_by_site_and_refuses(tmp_path):
    plan = ts.plan_store(tmp_path / "s", STREAMS, {"prefill": 10**6})
    assert plan.fits
    assert SITE in str(plan)
    assert sum(e.bytes for e in plan.entries) == 10**6 * (48 + tierod._core.row_table_bytes())
    with pytest.raises(tierod.IoError, match="capture fewer sites"):
        tierod.ActivationWriter(tmp_path / "s", STREAMS, expected_rows={"prefill": 10**13})
    assert not (tmp_path / "s").exists()


def test_merge_and_export(tmp_path):
    a = write_store(tmp_path / "a", 300)
    b = write_store(tmp_path / "b", 200)
    report = ts.merge_stores([a, b], tmp_path / "m")
    assert report.rows == {"prefill": 500}
    want = np.concatenate([values(0, 300).numpy(), values(0, 200).numpy()])
    with h5py.File(tmp_path / "m" / "index.h5") as index:
        assert (index[f"/prefill/sites/{SITE}"][:] == want).all()
    linked = ts.merge_stores([a, b], tmp_path / "r", reference=True)
    assert linked.linked == 0
    with h5py.File(tmp_path / "r" / "index.h5") as index:
        assert (index[f"/prefill/sites/{SITE}"][:] == want).all()
    files = ts.export_numpy(tmp_path / "m", tmp_path / "npy", sites=[SITE])
    assert len(files) == 12
    assert (np.load(tmp_path / "npy" / "prefill" / f"{SITE}.npy") == want).all()
    step = np.load(tmp_path / "npy" / "prefill" / "rows" / "step.npy")
    assert (step == np.concatenate([np.arange(300), np.arange(200)])).all()


def test_stores_of_several_processes_are_merged_and_rows_keep_their_samples(tmp_path):
    code = """
        import sys
        sys.path.insert(0, sys.argv[2])
        from store_case import SITE, STREAMS, values
        import tierod, torch
        first = int(sys.argv[3])
        with tierod.ActivationWriter(sys.argv[1], STREAMS, shard_bytes=20_000) as writer:
            for begin in range(first, first + 1000, 50):
                writer.append(
                    "prefill", {"sample": torch.arange(begin, begin + 50)}, {SITE: values(begin, 50)}
                )
    """
    here = __file__.rsplit("/", 1)[0]
    parts = [tmp_path / f"part{number}" for number in range(3)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), str(part), here, str(1000 * number)]
        )
        for number, part in enumerate(parts)
    ]
    assert [process.wait() for process in processes] == [0, 0, 0]
    ts.set_labels(parts[1], "stop", [1005], [1])
    ts.set_labels(parts[2], "stop", [2005], [0])
    # not in the order of the samples: rows must still be those of their samples
    order = [parts[2], parts[0], parts[1]]
    assert ts.merge_stores(order, tmp_path / "merged").rows == {"prefill": 3000}
    reader = tierod.ActivationReader(tmp_path / "merged")
    samples = reader.column("prefill", "sample")
    assert torch.equal(samples, torch.cat([torch.arange(b, b + 1000) for b in (2000, 0, 1000)]))
    want = values(0, 3000)[samples]
    assert torch.equal(reader.read("prefill", SITE), want)
    assert samples[reader.select("prefill", concept="stop", label=1)].tolist() == [1005]
    with h5py.File(tmp_path / "merged" / "index.h5") as index:
        assert (index["/prefill/rows/sample"][:] == samples.numpy()).all()
        assert (index[f"/prefill/sites/{SITE}"][:] == want.numpy()).all()
    assert ts.verify_store(tmp_path / "merged").ok


def test_export_makes_bf16_f32(tmp_path):
    path = write_store(tmp_path / "s", 100, streams={"s": {"x": (6, torch.bfloat16)}})
    ts.export_numpy(path, tmp_path / "npy")
    got = np.load(tmp_path / "npy" / "s" / "x.npy")
    assert got.dtype == np.float32
    assert (got == values(0, 100, 6, torch.bfloat16).float().numpy()).all()


def test_configuration_and_provenance_come_back(tmp_path):
    configuration = {"layers": [1, 2], "text": "ä"}
    with tierod.ActivationWriter(
        tmp_path / "s", STREAMS, provenance={"weights_sha256": "ab"}, configuration=configuration
    ) as writer:
        writer.append("prefill", {"sample": [1]}, {SITE: np.zeros((1, 24))})
    reader = tierod.ActivationReader(tmp_path / "s")
    assert reader.configuration == configuration
    assert reader.provenance == {"weights_sha256": "ab"}
    with h5py.File(tmp_path / "s" / "000000.h5") as file:
        assert json.loads(file.attrs["configuration"]) == configuration
        assert file["/prefill/rows/phase"].attrs["names"].split(",")[2] == "prefill"


def test_wrong_arguments_are_named(tmp_path):
    with pytest.raises(tierod.InvalidArgument, match="'keep' or 'refuse'"):
        tierod.ActivationWriter(tmp_path / "s", STREAMS, nonfinite="drop")
    with pytest.raises(tierod.InvalidArgument, match="float32, float16 or bfloat16"):
        tierod.ActivationWriter(tmp_path / "s", {"s": {"a": (3, torch.int64)}})
    with tierod.ActivationWriter(tmp_path / "s", STREAMS) as writer:
        with pytest.raises(tierod.InvalidArgument, match="has the sites"):
            writer.append("prefill", {}, {"other": torch.zeros(1, 24)})
        with pytest.raises(tierod.InvalidArgument, match="expected a column"):
            writer.append("prefill", {"smaple": 1}, {SITE: torch.zeros(1, 24)})

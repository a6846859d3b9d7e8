"""Off-manifold guard, donors, and keys at other positions."""

import numpy as np
import pytest
import torch
from scipy import stats as scipy_stats
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors

import tierod
from tierod import vla
from tierod.patch.donors import matched_donors, shuffled_donors
from tierod.patch.manifold import Manifold, Plausible, implausible, off_manifold_effect
from tierod.patch.rotary import rotary_frequencies, rotate_keys


def gaussian(n, d, seed, mixing_seed=99):
    mixing = np.random.default_rng(mixing_seed).normal(size=(d, d)) / np.sqrt(d)
    mixing += np.diag(np.linspace(0.2, 2, d))
    return np.random.default_rng(seed).normal(size=(n, d)) @ mixing + 0.3


# --- manifold


def percentiles_by_hand(fitted, natural, rows, shrinkage, neighbours):
    s = np.cov(fitted.T)
    s = (1 - shrinkage) * s + shrinkage * np.trace(s) / len(s) * np.eye(len(s))
    inverse = np.linalg.inv(s)
    white = np.linalg.inv(np.linalg.cholesky(s)).T
    nearest = NearestNeighbors(n_neighbors=neighbours).fit(fitted @ white)
    measures = [
        lambda x: np.linalg.norm(x, axis=1),
        lambda x: cdist(x, fitted.mean(0)[None], "mahalanobis", VI=inverse)[:, 0],
        lambda x: nearest.kneighbors(x @ white)[0][:, -1],
    ]
    return [
        scipy_stats.percentileofscore(measure(natural), measure(rows), kind="mean") / 100
        for measure in measures
    ]


@pytest.mark.parametrize("shrinkage", [None, 0.0, 0.2])
def test_percentiles_are_those_of_scipy_and_scikit_learn(shrinkage):
    rows, fresh = gaussian(600, 5, 1), gaussian(200, 5, 2)
    halves = rows[:300], rows[300:]
    manifold = Manifold.fit(rows, ["a"] * 300 + ["b"] * 300, shrinkage=shrinkage, neighbours=7)
    assert manifold.fitted_rows == manifold.natural_rows == 300
    found = manifold.check(fresh)
    # which of the two groups was fitted is drawn
    wanted = [
        percentiles_by_hand(fitted, natural, fresh, manifold.shrinkage, 7)
        for fitted, natural in (halves, halves[::-1])
    ]
    got = [found.norm.numpy(), found.mahalanobis.numpy(), found.neighbour.numpy()]
    assert min(np.abs(np.array(got) - np.array(w)).max() for w in wanted) < 1e-12
    off = (got[0] < 0.01) | (np.array(got) > 0.99).any(0)
    np.testing.assert_array_equal(found.off.numpy(), off)
    assert found.off_share == pytest.approx(off.mean())


def test_new_rows_of_the_same_distribution_are_natural():
    """At d = 32 and n = 2000 the percentiles of new rows are uniform, and as many are off as should be."""
    shares = []
    for seed in range(8):
        manifold = Manifold.fit(gaussian(2000, 32, seed), np.arange(2000))
        found = manifold.check(gaussian(1000, 32, 100 + seed))
        for percentile in (found.norm, found.mahalanobis, found.neighbour):
            assert scipy_stats.kstest(percentile.numpy(), "uniform").statistic < 0.08
        shares.append([found.norm_share, found.mahalanobis_share, found.neighbour_share])
    print("shares off by norm, Mahalanobis, neighbour:", np.mean(shares, 0))
    np.testing.assert_allclose(np.mean(shares, 0), [0.02, 0.01, 0.01], atol=0.006)


def test_percentiles_within_the_fitted_rows_call_natural_rows_off():
    in_sample, held_out = [], []
    for seed in range(8):
        rows, fresh = gaussian(512, 32, seed), gaussian(2000, 32, 200 + seed)
        inverse = np.linalg.inv(np.cov(rows.T))

        def distance(x, rows=rows, inverse=inverse):
            return cdist(x, rows.mean(0)[None], "mahalanobis", VI=inverse)[:, 0]

        in_sample.append((distance(fresh) > np.quantile(distance(rows), 0.99)).mean())
        held_out.append(Manifold.fit(rows, np.arange(512)).check(fresh).mahalanobis_share)
    print(
        f"beyond the 99th percentile: in sample {np.mean(in_sample)}, held out {np.mean(held_out)}"
    )
    assert np.mean(in_sample) > 0.03
    assert np.mean(held_out) < 0.018


def test_rows_of_a_group_stay_together():
    """Rows of a scene are alike: if its rows were in both halves, new scenes would look far away."""
    rng = np.random.default_rng(0)

    def scenes(count):
        middle = rng.normal(size=(count, 4))
        return np.repeat(middle, 10, 0) + 0.05 * rng.normal(size=(count * 10, 4))

    natural, fresh = scenes(300), scenes(300)
    groups = np.repeat(np.arange(300), 10)

    def share(of, seed):
        return Manifold.fit(natural, of, neighbours=2, seed=seed).check(fresh).neighbour_share

    whole = np.mean([share(groups, seed) for seed in range(5)])
    torn = share(np.arange(3000), 0)
    print(f"new scenes beyond the 99th percentile: whole groups {whole}, torn {torn}")
    assert whole < 0.03
    assert torn > 0.5


def test_too_few_rows_are_refused_by_number():
    with pytest.raises(
        tierod.InvalidArgument, match=r"at least 512 rows \(16 for each of 32.*got 500"
    ):
        Manifold.fit(gaussian(500, 32, 0), np.arange(500))
    with pytest.raises(tierod.InvalidArgument, match=r"Manifold\.fit"):
        Manifold.fit(gaussian(600, 4, 0), np.zeros(600))
    with pytest.raises(tierod.NumericalError, match="row 3"):
        Manifold.fit(np.where(np.arange(600)[:, None] == 3, np.nan, 1.0), np.arange(600))
    assert "naturally off" in repr(Manifold.fit(gaussian(600, 4, 0), np.arange(600)))


def rollout(actions, speed, dt=0.25):
    return vla.Rollout(
        actions=torch.as_tensor(actions), initial_speed=torch.as_tensor(speed), dt_s=dt
    )


def test_implausible_is_what_the_numbers_say():
    rng = np.random.default_rng(0)
    actions = rng.normal(size=(500, 16, 2)) * [2.5, 0.02]
    actions[:, :, 0] = np.repeat(actions[:, ::4, 0], 4, axis=1)
    speed = rng.uniform(5, 20, size=500)
    limits = Plausible(
        max_acceleration=7, max_jerk=25, max_curvature=0.06, max_lateral_acceleration=9
    )
    wanted = []
    for row, v in zip(actions, speed, strict=True):
        bad, previous = False, None
        for a, k in row:
            after = v + a * 0.25
            bad |= abs(a) > 7 or abs(k) > 0.06 or max(v**2, after**2) * abs(k) > 9
            bad |= previous is not None and abs(a - previous) / 0.25 > 25
            v, previous = after, a
        wanted.append(bad)
    assert 0.1 < np.mean(wanted) < 0.9
    assert implausible(rollout(actions, speed), limits).tolist() == wanted
    calm = rollout(np.zeros((3, 16, 2)), np.full(3, 10.0))
    assert implausible(calm).tolist() == [False] * 3
    with pytest.raises(tierod.InvalidArgument, match="max_jerk > 0"):
        implausible(calm, Plausible(max_jerk=-1))
    assert repr(Plausible()).startswith(
        "Plausible(max_acceleration=8, max_jerk=40, max_curvature=0.2"
    )


def test_effect_off_the_manifold_alone_is_flagged():
    rng = np.random.default_rng(1)
    off = rng.random(120) < 0.4
    values = rng.normal(size=120) * 0.5 - 2 * off
    found = off_manifold_effect(values, off)
    for interval, part in ((found.all, values), (found.on_manifold, values[~off])):
        wanted = scipy_stats.ttest_1samp(part, 0).confidence_interval(0.95)
        np.testing.assert_allclose([interval.low, interval.high], wanted)
    assert found.off_share == pytest.approx(off.mean())
    assert found.flagged
    assert "flagged" in repr(found)
    assert not off_manifold_effect(values - 2, off).flagged
    assert off_manifold_effect(values, np.ones(120)).on_manifold is None


def test_guard_misses_few_real_effects_and_flags_artefacts():
    """Effects of 1 with noise 1 in 100 scenes: flagged if only the off half has them, not if all do."""
    rng = np.random.default_rng(2)
    flags = {"all": 0, "off only": 0}
    for _ in range(200):
        off = rng.random(100) < 0.5
        noise = rng.normal(size=100)
        flags["all"] += off_manifold_effect(noise + 1, off).flagged
        flags["off only"] += off_manifold_effect(noise + 1.0 * off, off).flagged
    assert flags["all"] <= 2
    assert flags["off only"] >= 180


# --- donors


def test_donors_are_the_nearest_by_scipy():
    rng = np.random.default_rng(3)
    n = 150
    labels = rng.integers(0, 2, n)
    groups = rng.integers(0, 40, n)
    covariates = rng.normal(size=(n, 3)) @ rng.normal(size=(3, 3)) + labels[:, None]
    covariates = np.column_stack([covariates * [1, 100, 0.01], np.full(n, 7.0), covariates[:, 0]])
    eligible = rng.random(n) < 0.7
    found = matched_donors(covariates, labels, groups, eligible=eligible)

    x = covariates[:, :3]
    centred = x - np.stack([x[labels == 0].mean(0), x[labels == 1].mean(0)])[labels]
    distance = cdist(x, x, "mahalanobis", VI=np.linalg.inv(centred.T @ centred / (n - 2)))
    allowed = (labels[:, None] != labels) & (groups[:, None] != groups) & eligible
    distance = np.where(allowed, distance, np.inf)
    assert found.donors.dtype == torch.int64
    np.testing.assert_array_equal(found.donors.numpy(), distance.argmin(1))
    np.testing.assert_allclose(found.distances.numpy(), distance.min(1), rtol=1e-8)


def test_matching_makes_nuisances_equal():
    """A concept that goes with speed: donors are as fast as the scenes are, any others are not."""
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 2, 600)
    speed = rng.normal(size=600) + labels
    found = matched_donors(speed[:, None], labels, np.arange(600))
    gap = speed[found.donors.numpy()] - speed
    assert abs(gap[labels == 0].mean()) < 0.1
    other = speed[shuffled_donors(np.arange(600)).numpy()] - speed
    assert other[labels == 0].mean() > 0.3


def test_donors_that_do_not_exist_are_named():
    with pytest.raises(tierod.InvalidArgument, match="both classes"):
        matched_donors(np.ones((3, 1)), [1, 1, 1], [0, 1, 2])
    with pytest.raises(tierod.InvalidArgument, match="none for scene 0 of group 0"):
        matched_donors(np.ones((4, 1)), [0, 1, 0, 0], ["a", "a", "b", "b"])
    with pytest.raises(tierod.InvalidArgument, match="2-dimensional covariates"):
        matched_donors(np.ones(4), [0, 1, 0, 1], range(4))
    with pytest.raises(tierod.InvalidArgument, match="got 3 of group 5"):
        shuffled_donors([5, 5, 5, 1, 2])


def test_shuffled_donors_are_of_other_groups():
    rng = np.random.default_rng(5)
    for seed in range(50):
        groups = rng.integers(0, 6, 40)
        if np.bincount(groups).max() > 20:
            continue
        donors = shuffled_donors(groups, seed=seed).numpy()
        assert sorted(donors) == list(range(40))
        assert (groups[donors] != groups).all()
    assert shuffled_donors(groups, seed=1).equal(shuffled_donors(groups, seed=1))


def test_shuffled_donors_are_about_uniform():
    """Groups of 2, 2, 1 and 1: every pair of scenes of two groups is drawn as often as in a full count."""
    from itertools import permutations

    groups = np.array([0, 0, 1, 1, 2, 3])
    allowed = [p for p in permutations(range(6)) if (groups[list(p)] != groups).all()]
    draws = 6000
    seen = dict.fromkeys(allowed, 0)
    for seed in range(draws):
        seen[tuple(shuffled_donors(groups, seed=seed).tolist())] += 1
    p = scipy_stats.chisquare(list(seen.values())).pvalue
    print(f"{len(allowed)} permutations, chi-square p {p:.3g}")
    assert p > 1e-4


# --- rotary


def test_keys_move_as_llama_embeds_them():
    llama = pytest.importorskip("transformers.models.llama.modeling_llama")
    config = llama.LlamaConfig(hidden_size=64, num_attention_heads=4, rope_theta=500000.0)
    rotary = llama.LlamaRotaryEmbedding(config)
    torch.testing.assert_close(
        rotary_frequencies(16, 500000.0).float(), rotary.inv_freq, rtol=1e-6, atol=0
    )
    raw = torch.randn(2, 4, 10, 16, generator=torch.Generator().manual_seed(0))
    start = torch.tensor([[3], [40]]) + torch.arange(10)
    end = start + torch.tensor([[70], [-31]])

    def embedded(positions):
        return llama.apply_rotary_pos_emb(raw, raw, *rotary(raw, positions))[1]

    moved = rotate_keys(embedded(start), start, end, rotary.inv_freq)
    torch.testing.assert_close(moved, embedded(end), rtol=0, atol=5e-5)


def test_interleaved_keys_move_as_gptj_embeds_them():
    gptj = pytest.importorskip("transformers.models.gptj.modeling_gptj")
    table = gptj.create_sinusoidal_positions(200, 8)
    raw = torch.randn(1, 10, 2, 12, generator=torch.Generator().manual_seed(1))

    def embedded(positions):  # GPT-J keeps heads after tokens, and turns 8 of 12 numbers
        sin, cos = table[positions][None].split(4, -1)
        turned = gptj.apply_rotary_pos_emb(raw[..., :8], sin, cos)
        return torch.cat([turned, raw[..., 8:]], -1).transpose(1, 2)

    start, end = torch.arange(10), torch.arange(10) * 2 + 90
    moved = rotate_keys(embedded(start), start, end, rotary_frequencies(8), pairs="interleaved")
    torch.testing.assert_close(moved, embedded(end), rtol=0, atol=5e-5)


def test_the_cache_of_a_model_moves():
    """All keys of a small Llama whose text begins 37 tokens later are its keys, turned."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config).eval().double()
    tokens = torch.randint(0, 50, (2, 12))

    def keys(positions):
        with torch.no_grad():
            out = model(tokens, position_ids=positions.expand(2, -1), use_cache=True)
        return [layer.keys for layer in out.past_key_values.layers]

    here, there = torch.arange(12), torch.arange(12) + 37
    for near, far in zip(keys(here), keys(there), strict=True):
        moved = rotate_keys(near, here, there, model.model.rotary_emb.inv_freq)
        # the model takes its angles in f32
        torch.testing.assert_close(moved, far, rtol=0, atol=2e-5)
        assert (near - far).abs().max() > 0.01


def test_staying_keys_keep_their_bits():
    keys = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(2)).bfloat16()
    here = torch.arange(5)
    assert rotate_keys(keys, here, here, rotary_frequencies(8)).equal(keys)
    with pytest.raises(tierod.InvalidArgument, match="pairs as one of halves, interleaved"):
        rotate_keys(keys, here, here, rotary_frequencies(8), pairs="thirds")
    with pytest.raises(tierod.InvalidArgument, match=r"int64 \[5\]"):
        rotate_keys(keys, here.float(), here.float(), rotary_frequencies(8))

"""Worker of the probe bench: the same probes by tierod and by what people use today.

usage: probe_worker.py <threads>

Shapes: `site-<seed>` is one site of 20 000 rows x 576 in f32 with 12 concepts and 5 folds of whole
groups, `gram-<k>` the same rows in batches with k sets of 12 concepts. This also runs in the environment
of concept-erasure, which has neither tierod nor scikit-learn.
"""

from __future__ import annotations

import importlib.metadata
import sys
import warnings
from collections.abc import Callable
from functools import cache, partial

import numpy as np
import torch
from harness.serve import serve

ROWS, WIDTH, CONCEPTS, FOLDS, GROUP = 20_000, 576, 12, 5, 40
PENALTIES = (1.0, 1e1, 1e2, 1e3, 1e4)
BATCH = 4096
# What scikit-learn is timed on: fold 0 held out, these concepts (prevalence about .2 and .5).
PEER_CONCEPTS = (0, 11)
# What it is compared with at its tightest tolerance.
GAP_CONCEPTS, GAP_PENALTIES = (0, 6, 11), (1.0, 1e2, 1e4)


@cache
def site(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return rows [n, d] f32, labels [n, C] and folds [n], sorted by fold.

    The spectrum decays, three columns are outliers, groups have an offset of their own, and a label
    depends on a direction of its own, not quite linearly, with more or less noise.
    """
    generator = torch.Generator().manual_seed(seed)
    normal = partial(torch.randn, generator=generator)
    groups = torch.arange(ROWS) // GROUP
    basis = torch.linalg.qr(normal(WIDTH, WIDTH))[0]
    sd = 3 * (1 + torch.arange(WIDTH)) ** -0.6
    offsets = normal(ROWS // GROUP, WIDTH) * sd
    z = normal(ROWS, WIDTH) * sd + 0.3 * offsets[groups]
    x = z @ basis + 0.5 * normal(WIDTH)
    x[:, :3] *= 4
    weights = normal(WIDTH, CONCEPTS) * torch.rand(WIDTH, CONCEPTS, generator=generator) ** 4
    linear = (z / sd.sqrt()) @ weights
    linear = linear / linear.std(0)
    logit = torch.linspace(0.4, 4, CONCEPTS) * (linear + 0.5 * torch.tanh(linear.roll(1, 1)))
    logit += torch.linspace(-2, 0, CONCEPTS)
    y = (torch.rand(ROWS, CONCEPTS, generator=generator) < logit.sigmoid()).to(torch.uint8)
    folds = (groups * 7919) % FOLDS
    order = torch.argsort(folds, stable=True)
    return x[order].contiguous(), y[order].contiguous(), folds[order]


@cache
def split(seed: int) -> tuple[np.ndarray, ...]:
    """Return training rows and labels without fold 0, and those of fold 0."""
    x, y, folds = site(seed)
    out = folds == 0
    return x[~out].numpy(), y[~out].numpy(), x[out].numpy(), y[out].numpy()


def tierod_ridge(seed: int) -> torch.Tensor:
    from tierod import probe

    x, y, folds = site(seed)
    return probe.cross_validate(probe.RidgeFitter(list(PENALTIES)), x, y, folds, FOLDS).auroc


def tierod_logistic(seed: int) -> torch.Tensor:
    from tierod import probe

    x, y, folds = site(seed)
    fitter = probe.LogisticFitter(list(PENALTIES), refit=False)
    fits = fitter.fit_folds(x, y, folds, FOLDS).without
    scores = probe.held_out_scores(x, folds, fits)
    return probe.fold_auroc(scores, y, folds, FOLDS)


def _sklearn(seed: int, make: Callable[[float], object]) -> np.ndarray:
    """Fit fold 0's complement for the peer's concepts and all penalties; return the AUROC [P, c]."""
    from sklearn.metrics import roc_auc_score

    x, y, x_out, y_out = split(seed)
    out = np.empty((len(PENALTIES), len(PEER_CONCEPTS)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i, penalty in enumerate(PENALTIES):
            for j, c in enumerate(PEER_CONCEPTS):
                scores = make(penalty).fit(x, y[:, c]).decision_function(x_out)
                out[i, j] = roc_auc_score(y_out[:, c], scores)
    return out


def sklearn_ridge(seed: int) -> np.ndarray:
    from sklearn.linear_model import RidgeClassifier

    return _sklearn(seed, lambda a: RidgeClassifier(alpha=a))


def sklearn_multitarget(seed: int) -> np.ndarray:
    """All concepts as targets of one Ridge a penalty, fold 0."""
    from sklearn.linear_model import Ridge
    from sklearn.metrics import roc_auc_score

    x, y, x_out, y_out = split(seed)
    out = np.empty((len(PENALTIES), CONCEPTS))
    for i, penalty in enumerate(PENALTIES):
        scores = Ridge(alpha=penalty).fit(x, 2.0 * y - 1).predict(x_out)
        for c in range(CONCEPTS):
            out[i, c] = roc_auc_score(y_out[:, c], scores[:, c])
    return out


def sklearn_logistic(seed: int) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression

    return _sklearn(seed, lambda p: LogisticRegression(C=1 / p, max_iter=1000))


def gram_product(_: int) -> torch.Tensor:
    """The plain Gram product of all rows alone, in f32."""
    x, _, _ = site(0)
    return x.T @ x


@cache
def concept_sets(count: int) -> list[torch.Tensor]:
    """Return `count` sets of 12 real-valued concepts [n, 12], f32."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(ROWS, CONCEPTS, generator=generator) for _ in range(count)]


def tierod_gram(sets: int):
    from tierod import probe

    x, _, _ = site(0)
    z = torch.cat(concept_sets(sets), 1)
    fitter = probe.LeaceFitter()
    for i in range(0, ROWS, BATCH):
        fitter.update(x[i : i + BATCH], z[i : i + BATCH])
    return fitter


def leace_gram(sets: int):
    from concept_erasure import LeaceFitter

    x, _, _ = site(0)
    fitters = [LeaceFitter(WIDTH, CONCEPTS, dtype=torch.float32) for _ in range(sets)]
    for fitter, z in zip(fitters, concept_sets(sets), strict=True):
        for i in range(0, ROWS, BATCH):
            fitter.update(x[i : i + BATCH], z[i : i + BATCH])
    return fitters


CONTENDERS: dict[str, Callable[[int], object]] = {
    "tierod_ridge": tierod_ridge,
    "tierod_logistic": tierod_logistic,
    "sklearn_ridge": sklearn_ridge,
    "sklearn_multitarget": sklearn_multitarget,
    "sklearn_logistic": sklearn_logistic,
    "tierod_gram": tierod_gram,
    "leace_gram": leace_gram,
    "gram_product": gram_product,
}


def call(shape: str, label: str) -> Callable[[], object]:
    return partial(CONTENDERS[label], int(shape.rsplit("-", 1)[1]))


def prepare(shape: str, label: str) -> dict:
    """Make the data and tell the versions; for `sweep` run all sites once and tell the CPU time."""
    import time

    number = int(shape.rsplit("-", 1)[1])
    if label.startswith("sweep_"):
        total = 0.0
        for seed in range(number):
            site(seed)
            start = time.process_time()
            CONTENDERS[label.removeprefix("sweep_")](seed)
            total += time.process_time() - start
            site.cache_clear()
        return {"cpu_s": total}
    site(0)
    if shape.startswith("gram"):
        concept_sets(number)
    names = ("numpy", "torch", "scikit-learn", "concept-erasure")
    versions = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"versions": versions}


def _reports(fits: list) -> dict:
    reports = [report for fit in fits for report in fit.reports]
    return {
        "not_converged": sum(not report.converged for report in reports),
        "most_iterations": max(report.iterations for report in reports),
    }


def gap(count: int) -> dict:
    """Compare AUROC with scikit-learn at tol 1e-9, both in f64, on `count` fits of fold 0."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    from tierod import probe

    x, y, folds = site(0)
    fitter = probe.LogisticFitter(list(PENALTIES), refit=False)
    fits = fitter.fit_folds(x.double(), y, folds, FOLDS)
    ours = probe.fold_auroc(probe.held_out_scores(x.double(), folds, fits.without), y, folds, FOLDS)
    single = tierod_logistic(0)
    train, labels, x_out, y_out = (part.astype(np.float64) for part in split(0))
    differences, singles = [], []
    cells = [(c, p) for c in GAP_CONCEPTS for p in GAP_PENALTIES][:count]
    for c, penalty in cells:
        peer = LogisticRegression(C=1 / penalty, tol=1e-9, max_iter=20_000).fit(train, labels[:, c])
        area = roc_auc_score(y_out[:, c], peer.decision_function(x_out))
        p = PENALTIES.index(penalty)
        differences.append(abs(area - ours[0, p, c].item()))
        singles.append(abs(area - single[0, p, c].item()))
    return {
        "gap": max(differences),
        "gap_f32": max(singles),
        "fits": len(cells),
        "f32_f64": (ours - single).abs().max().item(),
        **_reports(fits.without),
    }


def check(shape: str, label: str, file: str) -> dict:
    """Compare with the peer's numbers; answers the largest difference."""
    if label == "gap":
        return gap(int(file))
    ours = call(shape, "tierod_ridge")()[0].numpy()
    loop = sklearn_ridge(0)
    many = sklearn_multitarget(0)
    return {
        "difference": max(
            float(np.abs(ours[:, list(PEER_CONCEPTS)] - loop).max()),
            float(np.abs(ours - many).max()),
        )
    }


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]))
    serve(prepare, check, call)

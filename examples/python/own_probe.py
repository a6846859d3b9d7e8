"""Let any scikit-learn classifier take part in an evaluation.

    pip install tierod[probe]
    python examples/python/own_probe.py

A list of estimators is a choice that is made inside the training folds, by group. An estimator whose
`fit` takes `groups` gets them.
"""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tierod import probe


def scenes(seed: int = 0) -> probe.ProbeDataset:
    """80 scenes of 6 rows: one concept shows linearly, one only in the product of two columns."""
    rng = np.random.default_rng(seed)
    scene = np.repeat(np.arange(80), 6)
    linear = rng.random(80)[scene] < 0.4
    product = rng.random(len(scene)) < 0.5
    x = rng.normal(size=(len(scene), 10))
    x[:, 0] += 1.5 * linear
    x[:, 1] = np.abs(x[:, 1]) * np.sign(x[:, 2]) * np.where(product, 1, -1)
    return probe.ProbeDataset(
        scene,
        sites={"layers.0.resid_post": x.astype(np.float32)},
        concepts={"pedestrian": linear, "wet_and_dark": product},
        nuisances={"speed": ("binned", rng.normal(size=len(scene)))},
    )


def main() -> None:
    data = scenes()
    logistic = [
        make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=500)) for c in (0.01, 1.0)
    ]
    probes = {
        "ridge": "ridge",
        "logistic": probe.estimator_fitter(logistic, "logistic"),
        "neighbours": KNeighborsClassifier(15),
    }
    found = {
        name: probe.evaluate(data, p, control_draws=1, memorisation=False, permutations=199)
        for name, p in probes.items()
    }
    for name, evaluation in found.items():
        print(f"\n{name}")
        print(
            evaluation.table[["concept", "auroc", "auroc_low", "auroc_high", "encoded", "setting"]]
        )
    print()
    for conclusion in probe.conclude(found["ridge"], found["neighbours"]):
        print(conclusion.sentence)

    site = data.sites[0]
    linear = {name: e.at(site, "pedestrian").auroc.estimate for name, e in found.items()}
    product = {name: e.at(site, "wet_and_dark").auroc.estimate for name, e in found.items()}
    assert min(linear["ridge"], linear["logistic"]) > 0.75
    assert product["neighbours"] > product["logistic"] + 0.1, "no line parts a product"


if __name__ == "__main__":
    main()

# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Does a language model know that a quotation is open?
#
# SmolLM2-135M reads 300 real news articles. At every layer we ask whether its residual stream says
# that the token stands **inside quotation marks**, a property that no token shows by itself. Beside
# it we probe two foils: `late` (the token stands in the second half), which its position gives away,
# and `sham`, a coin thrown for each article, which means nothing.
#
# The point is less the answer than what has to stand beside a probe before its number means anything.

# %%
import os
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

HERE = Path(globals().get("__file__", Path.cwd() / "probing.ipynb")).resolve().parent
sys.path.insert(0, str(HERE.parent / "python"))

import smollm2_quotations as quotes

from tierod import probe

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
SMALL = os.environ.get("TIEROD_SMALL") == "1"  # a few articles and layers, for a quick look
layers = [0, 9, 19] if SMALL else list(range(30))

# %% [markdown]
# ## Activations, labels, groups
#
# A session streams the residuals of chosen tokens into a store; labels are given to them afterwards.
# The articles are the **groups**: tokens of one article are no independent evidence. Token ids are
# the recurring **types** that the control task is keyed on. The same network with random weights is
# run for comparison.

# %%
scratch = tempfile.TemporaryDirectory()
folder = Path(os.environ.get("TIEROD_QUOTES", scratch.name))  # activations of an earlier run
data, untrained, articles = quotes.build(
    folder, articles=40 if SMALL else 200, length=96 if SMALL else 160, layers=layers
)
print(data)
print(
    f"{len(articles)} articles; inside a quotation: {data.labels('in_quotation').mean():.0%} of the rows"
)

# %% [markdown]
# ## How far do so many articles carry?
#
# The planner knows what simulations have shown: a direction and its erasure need about 16 independent
# groups a column.

# %%
print("\n".join(probe.plan_sample(data, data.sites[0], "in_quotation").sentences))

# %% [markdown]
# ## What a careless probe would say
#
# Logistic regression with row-wise folds, on the *coin*. Tokens of the same article stand on both
# sides of every fold, and the probe recognises the article.

# %%
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

site = data.sites[len(data.sites) // 2]
x, coin = data.site(site).numpy(), data.labels("sham")
model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=300))
careless = cross_val_predict(
    model, x, coin, cv=KFold(5, shuffle=True, random_state=0), method="decision_function"
)
careful = cross_val_predict(
    model, x, coin, groups=data.groups, cv=GroupKFold(5), method="decision_function"
)
print(
    f"a coin, read at {site}: AUROC {roc_auc_score(coin, careless):.2f} with folds of rows, "
    f"{roc_auc_score(coin, careful):.2f} with folds of articles"
)

# %% [markdown]
# ## One call: every layer, every concept
#
# Penalties are chosen inside the training folds, folds hold whole articles, and every AUROC stands
# beside a control task (random labels of token types), a probe that sees only the nuisances (position,
# kind of token, the other concepts) and the random network.

# %%
found = probe.evaluate(data, "ridge", random_init=untrained, interval="influence")
columns = [
    "site",
    "concept",
    "auroc",
    "auroc_low",
    "auroc_high",
    "control_auroc",
    "nuisance_auroc",
    "memorisation_auroc",
    "p_max_t",
    "encoded",
]
print(found.table[columns].iloc[:: max(1, len(layers) // 3)].round(3).to_string(index=False))

# %%
colours = {"in_quotation": "#b2182b", "late": "#2166ac", "sham": "0.35"}
fig, axes = plt.subplots(1, 3, figsize=(11.5, 3.6), sharey=True, layout="constrained")
for ax, concept in zip(axes, data.concepts, strict=True):
    cells = found.table[found.table.concept == concept]
    colour = colours[concept]
    ax.fill_between(layers, cells.auroc_low, cells.auroc_high, color=colour, alpha=0.2, lw=0)
    ax.plot(layers, cells.auroc, color=colour, lw=2, label="SmolLM2")
    ax.plot(layers, cells.auroc - cells.learned, color=colour, lw=1, ls=":", label="random weights")
    ax.plot(layers, cells.nuisance_auroc, color="black", lw=1, ls="--", label="nuisances only")
    ax.plot(layers, cells.control_auroc, color="black", lw=1, ls="-.", label="control task")
    ax.axhline(0.5, color="0.7", lw=0.8, zorder=0)
    ax.set_title(concept, loc="left", fontsize=10)
    ax.set_xlabel("layer")
    ax.spines[["top", "right"]].set_visible(False)
axes[0].set_ylabel("AUROC on held-out articles")
axes[0].set_ylim(0.25, 1.02)
axes[0].legend(frameon=False, fontsize=8, loc="lower right")
plt.show()

# %% [markdown]
# `late` is read almost perfectly, and means nothing: the position alone reads it as well. `sham` stays
# at chance. `in_quotation` stands far above everything that could explain it away. The map shows the
# difference to the **better** baseline; marked cells stand above both and survive the search over
# layers.

# %%
found.plot("above_best")
plt.show()

# %% [markdown]
# ## In words
#
# "Encoded" and "not encoded" are different claims, and neither is the absence of the other. "Not
# encoded" also needs a probe that is not linear: a small multi-layer one, at three layers here.

# %%
few = [data.sites[i] for i in sorted({0, len(layers) // 2, len(layers) - 1})]
part = quotes.dataset_of(folder / "trained", articles, few)  # with all its nuisances
options = probe.MlpOptions()
options.hidden, options.epochs, options.patience = 16, 30, 5
mlp = probe.evaluate(
    part, probe.MlpFitter(options), control_draws=0, memorisation=False, interval="influence"
)
for conclusion in probe.conclude(found, mlp):
    print("-", conclusion.sentence)

# %% [markdown]
# ## A direction to edit along
#
# What reads is not what writes. The direction of `in_quotation` is fitted with the position, the kind
# of token and the other concepts adjusted for; it reads with one vector, writes with another, and
# their product is 1. The layer was chosen on other articles than those that are shown.

# %%
split = data.split(least_test_units=6) if SMALL else data.split()
print(split)
chosen = (
    probe.evaluate(
        data.subset(split, "B"),
        "ridge",
        folds=3 if SMALL else 5,
        permutations=0,
        interval="influence",
        memorisation=False,
    )
    .summary.set_index("concept")
    .best_site["in_quotation"]
)
fits = probe.residual_direction(
    data.subset(split, "A"), chosen, "in_quotation", folds=5, least_cell=0 if SMALL else 10
)
direction = fits.full.direction
print(
    direction,
    f"\nread' write = {float(direction.read @ direction.write):.6f}, "
    f"variance inflation {fits.full.vif:.2f}\n{fits.note}",
)

# %%
test = data.subset(split, "C")
position = direction.position(test.site(chosen)).numpy()
inside = test.labels("in_quotation") == 1
fig, ax = plt.subplots(figsize=(6.4, 3), layout="constrained")
bins = np.linspace(*np.percentile(position, [0.5, 99.5]), 41)
for which, colour, name in (
    (~inside, "0.55", "outside"),
    (inside, "#b2182b", "inside a quotation"),
):
    ax.hist(position[which], bins, density=True, alpha=0.6, color=colour, label=name)
for value, name in ((direction.low, "low"), (direction.high, "high")):
    ax.axvline(value, color="black", lw=0.8, ls="--")
    ax.text(value, ax.get_ylim()[1], f" {name}", va="top", fontsize=8)
ax.set_xlabel(f"position along the direction at {chosen}, articles of C")
ax.set_yticks([])
ax.spines[["top", "right", "left"]].set_visible(False)
ax.legend(frameon=False, fontsize=8)
plt.show()
print(f"AUROC of the direction on C: {roc_auc_score(inside, position):.3f}")

# %% [markdown]
# All this says that the property is **there**. Whether the model *uses* it is another question, which
# no probe answers: it takes an intervention along the direction and a measured consequence.

# %%
scratch.cleanup()

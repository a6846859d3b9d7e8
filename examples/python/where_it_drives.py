"""Follow a concept through a driving model whose truth is known: by which tokens, layers and patches of the
picture does a pedestrian brake the car, and is it the words?

usage: where_it_drives.py [MODEL [CONCEPT [FOLDER]]]

Writes where_sites.png and where_picture.png into FOLDER.
"""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from tierod import patch, zoo

name, concept, folder = (*sys.argv[1:], *["mixed", "pedestrian", "."][len(sys.argv) - 1 :])
model = zoo.DrivingModel.named(name)
changes = {"scenes": 80, "seed": 41, "enrich": {"concept": concept, "share": 0.5}}
scenes = zoo.Scenes(zoo.SceneConfig(**model.spec.scenes.to_dict() | changes))
run = patch.PairedRun(model, scenes)
labels, routes = scenes.labels(concept), scenes.group("route", run.scenes)
print(f"{name}: {concept} is {model.spec.roles[concept]}")

# 1. By which paths? The states at the tokens of each block, words held, and the words themselves.
blocks = {
    "prompt": "prompt",
    "vision": "image 0",
    "ego": "ego",
    "cot": ["cot_start", "cot", "post_cot"],
}
paths = patch.path_shares(run, concept, labels, routes, blocks, replicates=500)
print(f"whole effect {paths.total.estimate:+.2f} m/s², words held {paths.direct.estimate:+.2f}")
for path in [*paths.blocks, paths.words]:
    share = path.denoising
    print(f"  {path.name:7s} {share.estimate:5.2f} [{share.low:.2f}, {share.high:.2f}]")

# 2. Through which layers? Keys and values that the expert reads, by layer and span: no layer of the language
#    model runs again.
layers = [f"vlm.cache.{i}.{{k,v}}" for i in range(3)]
spans = patch.span_parts("prompt", "image 0", "ego", "cot_start", "cot", "post_cot")
cells = patch.site_sweep(run, layers, spans, concept, progress=False)
print(cells)
ax = cells.plot("recovered", labels=["prompt", "image", "ego", "<cot>", "words", "<act>"])
ax.set_title(f"{concept}: share of its effect by what the expert reads", loc="left", fontsize=9)
ax.set_yticks(range(3), [f"cache of layer {i}" for i in range(3)])
ax.figure.savefig(Path(folder) / "where_sites.png", dpi=130)

# 3. Where in the picture? One image token at a time, from the twin's.
scene = int(labels.nonzero()[0])
one = patch.PairedRun(model, scenes, [scene])
tokens = {f"patch {i}": {"tokens": [i]} for i in range(18)}
seen = patch.site_sweep(
    one, "vlm.image_embeds", tokens, concept, words="regenerated", progress=False
)
ax = seen.plot_image(scenes.image(scene), list(tokens), (3, 6))
ax.set_title(f"{concept} taken out of one image token at a time", loc="left", fontsize=9)
ax.figure.savefig(Path(folder) / "where_picture.png", dpi=130)

"""Write an intervention of your own and let it take part in paired runs, in maps of a driving model, and in
sweeps of a decoder.

An edit derives from `patch.Edit`: it sets up the session of each batch, with whatever the hook layer can do.
This one dims what is there, to see how control fades.
"""

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from tierod import patch, zoo


class Dim(patch.Edit):
    def __init__(self, site, by, **selection):
        super().__init__()
        self.site, self.by, self.selection = site, by, selection

    def put_on(self, session, rows):
        # words differ in length from row to row: their tokens come one after the other
        session.intervene(self.site, lambda h, event: h * self.by, ragged=True, **self.selection)


model = zoo.DrivingModel.named("mixed")
config = zoo.SceneConfig(**model.spec.scenes.to_dict() | {"scenes": 24, "seed": 3})
run = patch.PairedRun(model, zoo.Scenes(config))

# in a paired run: half of what the head reads at the image's tokens, words held
moved = run.direct(Dim("vlm.cache.*.v", 0.5, spans=["image 0"])).abs().mean()
print(f"half of the image's values: mean acceleration moves by {moved:.2f} m/s²")

# in a map: layers x spans
cells = patch.site_sweep(
    run,
    [f"vlm.cache.{i}.v" for i in range(3)],
    patch.span_parts("prompt", "image 0", "ego", "cot"),
    lambda site, part, selection: Dim(site, 0.5, spans=[part]),
    progress=False,
)
print(
    cells.table.groupby(["site", "part"])["effect"]
    .apply(lambda e: e.abs().mean())
    .unstack()
    .round(2)
)

# in a sweep of a decoder, where it is a function of what enters a layer
torch.manual_seed(0)
sizes = {"vocab_size": 50, "n_embd": 32, "n_layer": 4, "n_head": 4}
decoder = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0)).eval()
tokens = torch.tensor([[5, 9, 2, 31, 7, 7, 18]])
dimmed = patch.sweep(decoder, tokens, lambda h, layer: 0.5 * h, (31, 18), progress=False)
print(f"a decoder's logit difference moves by up to {dimmed.effect.abs().max():.3f}")
assert moved > 0
assert dimmed.effect.abs().max() > 0

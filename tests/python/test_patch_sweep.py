"""Sweeps over Hugging Face decoders and own block models, against sessions around whole forwards."""

import matplotlib as mpl
import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

import tierod
from tierod import patch, vla

mpl.use("Agg")

TOKENS, RIGHT, WRONG = 9, 3, 7
SIZES = {
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def gpt2():
    sizes = {"n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 32}
    return GPT2LMHeadModel(GPT2Config(vocab_size=50, bos_token_id=0, eos_token_id=0, **sizes))


FAMILIES = {
    "gpt2": gpt2,
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "llama eager": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, attn_implementation="eager")),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=8)),
    # windows shorter than the input, in some layers, and logits that are bounded
    "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**SIZES, head_dim=8, sliding_window=4)),
    "gemma3": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(**{**SIZES, "num_hidden_layers": 7}, head_dim=8, sliding_window=4)
    ),
}


def made(build, dtype=torch.float64):
    torch.manual_seed(0)
    return build().eval().to(dtype)


def ids(seed, rows=2, tokens=TOKENS):
    return torch.randint(0, 50, (rows, tokens), generator=torch.Generator().manual_seed(seed))


def by_sessions(model, base, source, spans):
    """Patch by a session around whole forwards of the model itself: [rows, layers, spans]."""
    on = tierod.instrument(model)
    layers = sum(name.endswith("resid_pre") for name in on.names())
    out = torch.empty(len(base), layers, len(spans), dtype=torch.float64)
    with torch.no_grad():
        _, cache = tierod.run_with_cache(on, source, names_filter="layers.*.resid_pre")
        for layer in range(layers):
            for i, positions in enumerate(spans):
                with on.session() as session:
                    session.intervene(
                        ("resid_pre", layer),
                        tierod.Intervention.restore(cache),
                        positions=positions,
                    )
                    logits = model(base).logits[:, -1]
                out[:, layer, i] = logits[:, RIGHT] - logits[:, WRONG]
    return out


EACH = [[p] for p in range(TOKENS)]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_sweep_is_what_sessions_around_whole_forwards_give(family):
    model = made(FAMILIES[family])
    base, source = ids(1), ids(2)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    expected = by_sessions(model, base, source, EACH)
    found = patch.sweep(model, base, source, (RIGHT, WRONG), progress=False)
    scale = float(expected.max() - expected.min())
    assert float((found.values[:, 0] - expected).abs().max()) <= 5e-14 * scale
    assert found.plan.strategy == patch.SweepStrategy.suffix
    assert found.notes == []
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    with torch.no_grad():
        logits = model(source).logits[:, -1]
    np.testing.assert_allclose(found.source[:, 0], logits[:, RIGHT] - logits[:, WRONG], atol=1e-12)


@pytest.mark.parametrize("strategy", ["naive", "batched", "restart", "suffix"])
def test_all_strategies_agree_in_f32(strategy):
    model = made(gpt2, torch.float32)
    base, source = ids(1, rows=1), ids(2, rows=1)
    expected = by_sessions(model, base, source, [[0, 1, 2], [5], [6, 7, 8]])
    found = patch.sweep(
        model, base, {"a": source, "itself": base}, (RIGHT, WRONG),
        spans=[slice(0, 3), 5, ("end", 6, 9)], strategy=strategy, progress=False,
    )  # fmt: skip
    scale = float(expected.max() - expected.min())
    assert float((found.values[:, 0] - expected).abs().max()) <= 5e-6 * scale
    assert float(found.effect[:, 1].abs().max()) <= 5e-6 * scale
    assert [s.name for s in found.spans] == ["0:3", "5", "end"]


class Skipping(nn.Module):
    """Its second layer is given more than what the first returned: layers do not follow each other."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.config = inner.config
        inner.model.layers[1].register_forward_pre_hook(self._add, with_kwargs=True)

    @staticmethod
    def _add(_layer, args, kwargs):
        return (args[0] * 1.5, *args[1:]), kwargs

    def get_output_embeddings(self):
        return self.inner.get_output_embeddings()

    def forward(self, input_ids, **kwargs):
        return self.inner(input_ids=input_ids, **kwargs)


def test_layers_that_do_not_follow_each_other_are_patched_by_whole_forwards():
    model = Skipping(made(FAMILIES["llama"])).eval()
    base, source = ids(1), ids(2)
    expected = by_sessions(model, base, source, EACH)
    found = patch.sweep(model, base, source, (RIGHT, WRONG), progress=False)
    assert found.plan.strategy == patch.SweepStrategy.batched
    assert "layer 1 is not given what layer 0 returned" in found.notes[0]
    assert float((found.values[:, 0] - expected).abs().max()) <= 1e-12
    few = patch.sweep(
        model, base, source, (RIGHT, WRONG), strategy="naive", layers=[2], spans=[4], progress=False
    )
    assert float((few.values[:, 0] - expected[:, 2:3, 4:5]).abs().max()) <= 1e-12
    with pytest.raises(patch.NotSequentialError, match="cannot be run one after the other"):
        patch.sweep(model, base, source, (RIGHT, WRONG), strategy="suffix", progress=False)
    with pytest.raises(tierod.InvalidArgument, match="memory_limit of at least"):
        patch.sweep(model, base, source, (RIGHT, WRONG), memory_limit=100, progress=False)


class Running(vla.BlockModel):
    """Two blocks over scalars: y_p = x_p + (mean of x_0..x_p), and outputs are (y, -y)."""

    def blocks(self):
        return 2

    def positions(self, batch):
        return batch["x"].shape[1]

    def embed(self, batch):
        return batch["x"].double().unsqueeze(-1)

    def block(self, index, input):
        x = input.hidden
        before = 0 if input.past_value is None else input.past_value.sum(2)[:, 0, :, None]
        count = input.begin + 1 + torch.arange(x.shape[1])
        y = x + (before + x.cumsum(1)) / count[None, :, None]
        if input.outputs >= 0:
            y = y[:, y.shape[1] - input.outputs :]
        return vla.BlockOutput(y, x[:, None], x[:, None])

    def finish(self, hidden):
        return torch.cat([hidden, -hidden], -1)


def test_an_own_block_model_by_hand():
    # x = (1, 2): block 0 gives (2, 3.5), block 1 (4, 6.25). Patching position 0 by 3 before block 0:
    # (3, 2) -> (6, 4.5) -> (12, 9.75). Before block 1: source (3, 0) -> (6, 1.5): (6, 3.5) -> 8.25.
    base = vla.Batch({"x": torch.tensor([[1.0, 2.0]])}, [0])
    source = vla.Batch({"x": torch.tensor([[3.0, 0.0]])}, [0])
    for strategy in ("naive", "batched", "restart", "suffix"):
        found = patch.sweep(Running(), base, source, lambda y: y[:, 0, 0], strategy=strategy)
        assert found.base.tolist() == [6.25]
        # position 1: before block 0 (1, 0) -> (2, .5) -> 1.75; before block 1 (2, 1.5) -> 3.25
        assert found.values[0, 0].tolist() == [[9.75, 1.75], [8.25, 3.25]]
        # source (3, 0) -> (6, 1.5) -> (12, 5.25)
        assert found.source.tolist() == [[5.25]]
        np.testing.assert_allclose(found.recovered[0], np.array([[3.5, -4.5], [2, -3]]) / -1)


def test_the_table_and_the_plot_name_every_cell():
    model = made(gpt2)
    found = patch.sweep(model, ids(1), {"clean": ids(2)}, (RIGHT, WRONG), progress=False)
    table = found.table
    assert len(table) == 2 * 3 * TOKENS
    cell = table[(table.row == 1) & (table.layer == 2) & (table.span == "4")]
    assert cell.value.item() == float(found.values[1, 0, 2, 4])
    assert cell.effect.item() == pytest.approx(float(found.values[1, 0, 2, 4] - found.base[1]))
    ax = found.plot("recovered", source="clean", labels=[f"t{i}" for i in range(TOKENS)])
    drawn = ax.images[0].get_array()
    np.testing.assert_allclose(drawn, found.recovered[0])
    assert [t.get_text() for t in ax.get_xticklabels()][4] == "t4"
    one = found.plot(row=1)
    np.testing.assert_allclose(one.images[0].get_array(), found.effect[1, 0])
    low, high = one.images[0].get_clim()
    assert low == -high
    refused = {
        "source among": {"source": "x"},
        "9 labels": {"labels": ["a"]},
        "as one of": {"value": "y"},
    }
    for why, bad in refused.items():
        with pytest.raises(tierod.InvalidArgument, match=why):
            found.plot(**bad)


def test_a_stopped_sweep_keeps_what_is_done_and_goes_on(tmp_path):
    model = made(gpt2)
    file = tmp_path / "sweep.json"

    def interrupt(done, _total, _task):
        if done >= 9:
            raise KeyboardInterrupt

    part = patch.sweep(model, ids(1), ids(2), (RIGHT, WRONG), file=file, progress=interrupt)
    assert not part.complete
    done = int(part.values.isfinite().sum())
    assert 9 <= done < part.values.numel()
    assert "not complete" in repr(part)
    rest = patch.sweep(model, ids(1), ids(2), (RIGHT, WRONG), file=file, progress=False)
    assert rest.core.resumed == done
    assert torch.equal(rest.values[part.values.isfinite()], part.values[part.values.isfinite()])
    with pytest.raises(tierod.InvalidArgument, match="holds the sweep of another model"):
        patch.sweep(model, ids(1), ids(3), (RIGHT, WRONG), file=file, progress=False)


def test_what_cannot_be_meant_is_refused():
    model = made(gpt2)
    base, source = ids(1), ids(2)

    def refuses(error, why, *args, **kwargs):
        with pytest.raises(error, match=why):
            patch.sweep(*args, **kwargs, progress=False)

    bad = tierod.InvalidArgument
    refuses(bad, "9 positions and source 'source' has 8", model, base, ids(2, tokens=8), (3, 7))
    refuses(bad, "one real number a row", model, base, source, lambda y: y[:, 0])
    refuses(bad, "one real number a row", model, base, source, lambda _y: None)
    refuses(bad, "whatever they are", model, base, source, lambda y: torch.ones(len(y)))
    refuses(bad, "expected a Metric, a function", model, base, source, "logit")
    refuses(bad, "strategy as one of", model, base, source, (3, 7), strategy="fast")
    refuses(bad, "a BlockModel or a Hugging Face decoder", object(), base, source, (3, 7))
    refuses(bad, "a position, slice", model, base, source, (3, 7), spans=["all"])
    refuses(bad, r"within the 9 positions", model, base, source, (3, 7), spans=[slice(5, 12)])
    refuses(bad, "layers ascending", model, base, source, (3, 7), layers=[5])
    refuses(bad, "memory_limit of at least", model, base, source, (3, 7), memory_limit=1000)
    refuses(tierod.NumericalError, "finite metric", model, base, source, lambda y: y[:, 0, 0] / 0)
    padded = {"input_ids": base, "attention_mask": torch.ones_like(base).tril()}
    refuses(bad, "without padding", model, padded, source, (3, 7))
    refuses(bad, "eval mode", made(gpt2).train(), base, source, (3, 7))
    refuses(bad, "token ids", model, [1, 2], source, (3, 7))
    changed = base.clone()
    changed[:, 4] = (changed[:, 4] + 1) % 50
    refuses(bad, "differ at position 4", model, base, changed, (3, 7), differing=[3])
    patch.sweep(model, base, changed, (3, 7), differing=[4], progress=False)


def test_an_error_of_the_metric_comes_out_as_itself():
    def fails(_outputs):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        patch.sweep(made(gpt2), ids(1), ids(2), fails, progress=False)

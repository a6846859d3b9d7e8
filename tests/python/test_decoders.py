"""Canonical ports of Hugging Face decoders, held against the model's own output."""

import pytest
import torch
from conftest import FAMILIES

import tierod
from tierod import Intervention


def test_ports_against_the_models_own_hidden_states(decoder, ids):
    with torch.no_grad():
        states = decoder(ids, output_hidden_states=True).hidden_states
        _, cache = tierod.run_with_cache(decoder, ids)
    for i in range(3):
        assert torch.equal(cache["resid_pre", i], states[i])
        total = cache["resid_pre", i] + cache["attn_out", i] + cache["mlp_out", i]
        assert torch.allclose(total, cache["resid_post", i], atol=1e-5)
        middle = cache["resid_pre", i] + cache["attn_out", i]
        assert torch.allclose(cache["resid_mid", i], middle, atol=1e-6)
    # the last entry of hidden_states is after the final norm, not the last residual
    assert not torch.allclose(cache["resid_post", 2], states[3], atol=1e-3)
    assert torch.equal(cache["resid_post", 1], states[2])


def test_q_against_the_projection(ids):
    torch.manual_seed(0)
    model = FAMILIES["llama"]().eval()
    with torch.no_grad():
        _, cache = tierod.run_with_cache(model, ids)
        layer = model.model.layers[1]
        normed = layer.input_layernorm(cache["resid_pre", 1])
        want = layer.self_attn.q_proj(normed).view(2, 5, 4, 4)
    assert torch.equal(cache["q", 1], want)
    assert cache["k", 1].shape == (2, 5, 2, 4)


def test_a_head_of_gpt2s_fused_projection_is_edited_alone(ids):
    torch.manual_seed(0)
    model = FAMILIES["gpt2"]().eval()
    tm = tierod.instrument(model)
    with torch.no_grad():
        _, clean = tierod.run_with_cache(tm, ids)
        with tm.session() as session:
            session.capture("layers.1.{q,k,v}")
            session.intervene("layers.1.v", Intervention.zero(), heads=2)
            model(ids)
    want = clean["v", 1].clone()
    want[:, :, 2] = 0
    assert torch.equal(session.cache["v", 1], want)
    assert torch.equal(session.cache["q", 1], clean["q", 1])
    assert torch.equal(session.cache["k", 1], clean["k", 1])


def test_pattern_only_with_eager_attention(ids):
    torch.manual_seed(0)
    model = FAMILIES["llama"](attn_implementation="eager").eval()
    with torch.no_grad():
        _, cache = tierod.run_with_cache(model, ids)
    assert torch.allclose(cache["pattern", 0].sum(-1), torch.ones(2, 4, 5), atol=1e-6)
    sdpa = tierod.instrument(FAMILIES["llama"](attn_implementation="sdpa"))
    assert "eager" in sdpa.missing["layers.0.pattern"]


def test_read_only_ports_refuse_edits(decoder):
    session = tierod.instrument(decoder).session()
    with pytest.raises(tierod.SiteError, match=r"captured but not edited.*attn_out"):
        session.intervene("layers.1.resid_mid", Intervention.zero())


def test_phases_and_steps_in_generate(decoder, ids):
    tm = tierod.instrument(decoder)
    with tm.session() as session:
        session.capture("layers.1.resid_post")
        session.capture("layers.0.resid_post", positions=[4, 6], phases=["decode"])
        out = decoder.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=4, do_sample=False
        )
    events = [(e.event.phase, e.event.step) for e in session.cache.find(("resid_post", 1))]
    assert events == [("prefill", -1), ("decode", 0), ("decode", 1), ("decode", 2)]
    joined = session.cache.concat_tokens(("resid_post", 1))
    with torch.no_grad():
        states = decoder(out[:, :-1], output_hidden_states=True).hidden_states
    assert torch.allclose(joined, states[2], atol=1e-5)
    [at_six] = session.cache.find(("resid_post", 0))  # position 4 lies in the prefill
    assert at_six.event.step == 1
    assert torch.allclose(at_six.tensor, states[1][:, 6:7], atol=1e-5)


def test_a_patch_in_one_decode_step_moves_only_what_follows(ids):
    torch.manual_seed(0)
    model = FAMILIES["llama"]().eval()
    tm = tierod.instrument(model)
    kwargs = {"max_new_tokens": 5, "do_sample": False, "output_scores": True,
              "return_dict_in_generate": True, "attention_mask": torch.ones_like(ids)}  # fmt: skip
    clean = model.generate(ids, **kwargs)
    with tm.session() as session:
        session.intervene("layers.2.resid_post", Intervention.zero(), phases="decode", steps=1)
        edited = model.generate(ids, **kwargs)
    same = [torch.equal(a, b) for a, b in zip(clean.scores, edited.scores, strict=True)]
    assert same[:2] == [True, True]
    assert not same[2]


def test_stop_at_layer_returns_the_residual(decoder, ids):
    with torch.no_grad():
        states = decoder(ids, output_hidden_states=True).hidden_states
        residual, cache = tierod.run_with_cache(decoder, ids, stop_at_layer=-1)
    assert torch.equal(residual, states[2])
    assert "layers.1.resid_post" in cache
    assert "layers.2.resid_post" not in cache
    assert torch.equal(cache["resid_pre", 2], states[2])


def test_names_filters_pos_slice_and_dtype(decoder, ids):
    import re

    tm = tierod.instrument(decoder)
    wants = {f"layers.{i}.resid_post" for i in range(3)}
    for names_filter in (
        "layers.*.resid_post",
        sorted(wants),
        re.compile(r"^layers\.\d+\.resid_post$"),
        lambda name: name.endswith("resid_post"),
    ):
        _, cache = tierod.run_with_cache(
            tm, ids, names_filter=names_filter, pos_slice=slice(1, 3), dtype=torch.float64
        )
        assert set(cache) == wants
        assert cache["resid_post", 0].shape == (2, 2, 16)
        assert cache["resid_post", 0].dtype == torch.float64
    with pytest.raises(tierod.SiteError, match="names_filter"):
        tierod.run_with_cache(tm, ids, names_filter=lambda name: False)
    with pytest.raises(KeyError, match="nearest names"):
        cache["layers.1.resid_pos"]

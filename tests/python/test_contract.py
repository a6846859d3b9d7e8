"""The fail-loud contract (docs/hook.md), on PyTorch modules, in f32 and bf16."""

import gc
import threading

import pytest
import torch

import tierod
from tierod import Intervention


def logits(model, ids):
    with torch.no_grad():
        return model(ids).logits


# 1. a site fires as often as declared, or it is an error that names it


def test_unknown_site_is_refused_at_once_with_the_nearest_names(llama):
    session = tierod.instrument(llama).session()
    with pytest.raises(tierod.SiteError, match=r"resid_pos'.*layers\.1\.resid_post"):
        session.capture("layers.1.resid_pos")
    with pytest.raises(tierod.SiteError, match=r"matches 'tower\.\*\*'"):
        session.intervene("tower.**", Intervention.zero())


def test_a_session_without_a_run_is_an_error(llama):
    with pytest.raises(tierod.SiteError, match=r"layers\.0\.resid_post' never fired"):
        with tierod.instrument(llama).session() as session:
            session.capture("layers.0.resid_post")


def test_a_layer_that_fires_twice_in_a_run_is_an_error(llama, ids):
    layers = llama.model.layers
    layers[1].forward, original = layers[2].__call__, layers[1].forward
    layers[2].register_forward_pre_hook(lambda *a: None)
    tm = tierod.instrument(llama)
    with (
        pytest.raises(tierod.SiteError, match=r"layers\.2\.resid_post' fired 2 times.*1 in 1 of 1"),
        tm.session() as session,
    ):
        session.capture("layers.2.resid_post")
        logits(llama, ids)
    layers[1].forward = original


def test_a_selection_that_meets_no_event_is_an_error(llama, ids):
    with pytest.raises(tierod.SiteError, match=r"never met an event.*1 x none"):
        with tierod.instrument(llama).session() as session:
            session.intervene("layers.1.resid_post", Intervention.zero(), phases="decode")
            logits(llama, ids)


# 2. exact no-ops, and bits of what is not selected


def test_no_op_edits_leave_every_bit(llama, ids):
    clean, cache = tierod.run_with_cache(llama, ids, names_filter="layers.1.resid_post")
    h = cache["layers.1.resid_post"]
    width = h.shape[-1]
    w = torch.zeros(width, dtype=torch.float64)
    w[0] = 1.0
    for edit in (
        Intervention.replace(h),
        Intervention.restore(cache.core),
        Intervention.gather_rows([0, 1]),
        Intervention.add(w, 0.0),
        lambda x, event: None,
        lambda x, event: x,
    ):
        out = tierod.run_with_hooks(llama, ids, interventions={"layers.1.resid_post": edit})
        assert torch.equal(out.logits, clean.logits)


def test_unselected_rows_and_tokens_keep_every_bit(llama, ids):
    tm = tierod.instrument(llama)
    clean, cache = tierod.run_with_cache(tm, ids, names_filter="layers.*.resid_post")
    with tm.session() as session:
        session.capture("layers.*.resid_post")
        session.intervene("layers.1.resid_post", Intervention.zero(), rows=0, tokens=[2, 4])
        out = logits(llama, ids)
    h = session.cache["layers.1.resid_post"]
    want = cache["layers.1.resid_post"].clone()
    want[0, [2, 4]] = 0
    assert torch.equal(h, want)
    assert torch.equal(out[1], clean.logits[1])
    assert torch.equal(out[0, :2], clean.logits[0, :2])
    assert not torch.equal(out[0, 2:], clean.logits[0, 2:])


def test_negative_zero_survives_an_edit_that_adds_nothing():
    site = "layers.0.resid_post"
    x = torch.tensor([[[-0.0, 1.0]]])
    with tierod.Session() as session:
        session.intervene(site, Intervention.add(torch.tensor([0.0, 2.0]), 1.0))
        y = tierod.hook_point(x, site)
    assert torch.equal(torch.signbit(y), torch.tensor([[[True, False]]]))
    assert y[0, 0, 1] == 3.0


# 3. hooks by handle, exceptions as themselves


@pytest.mark.parametrize("kind", [TypeError, ValueError, RuntimeError, KeyError])
def test_a_callback_that_raises_leaves_the_model_as_it_was(llama, ids, kind):
    want = logits(llama, ids)
    calls = []

    def bad(x, event):
        calls.append(event.site)
        raise kind("from the callback")

    with pytest.raises(kind, match="from the callback"):
        with tierod.instrument(llama).session() as session:
            session.intervene("layers.1.resid_post", bad)
            llama(ids)
    assert calls == ["layers.1.resid_post"]  # transformers runs again on a bare TypeError
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in llama.modules())
    assert torch.equal(logits(llama, ids), want)


def test_an_error_that_the_model_swallows_comes_out_at_exit():
    def bad(x, event):
        raise ValueError("swallowed")

    with pytest.raises(ValueError, match="swallowed"), tierod.Session() as session:
        session.intervene("a", bad)
        try:
            tierod.hook_point(torch.ones(1, 2), "a")
        except ValueError:
            pass


def test_hooks_of_others_stay(llama, ids):
    seen = []
    handle = llama.model.layers[0].register_forward_hook(lambda *a: seen.append(1))
    tierod.run_with_cache(llama, ids, names_filter="layers.0.resid_post")
    llama(ids)
    assert len(llama.model.layers[0]._forward_hooks) == 1
    assert len(seen) >= 2
    handle.remove()


# 4. and bad input: checks at the site name it


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (
            lambda x: x[:, :-1],
            ValueError,
            r"layers\.1\.resid_post.*shape \[2, 5, 16\].*\[2, 4, 16\]",
        ),
        (lambda x: x.double(), ValueError, r"layers\.1\.resid_post.*dtype"),
        (lambda x: x * float("nan"), ArithmeticError, r"layers\.1\.resid_post.*NaN"),
        (lambda x: "text", TypeError, r"layers\.1\.resid_post.*str"),
    ],
)
def test_a_bad_answer_of_a_callback(llama, ids, answer, error, text):
    with pytest.raises(error, match=text):
        tierod.run_with_hooks(
            llama, ids, fwd_hooks=[("layers.1.resid_post", lambda x, e: answer(x))]
        )
    logits(llama, ids)


def test_a_selection_outside_of_the_tensor(llama, ids):
    for selection in ({"tokens": 5}, {"rows": [2]}, {"tokens": slice(3, 9)}):
        with pytest.raises(IndexError, match=r"layers\.1\.resid_post"):
            with tierod.instrument(llama).session() as session:
                session.capture("layers.1.resid_post", **selection)
                llama(ids)
    with pytest.raises(tierod.InvalidArgument, match="heads"):
        with tierod.instrument(llama).session() as session:
            session.capture("layers.1.resid_post", heads=0)
            llama(ids)


def test_nan_in_a_replacement_only_if_asked_for():
    bad = torch.tensor([1.0, float("inf")])
    with pytest.raises(tierod.NumericalError, match="allow_nonfinite"):
        Intervention.replace(bad)
    Intervention.replace(bad, allow_nonfinite=True)


# 5. token lengths


def test_donors_of_another_token_length_are_refused(llama, ids):
    _, cache = tierod.run_with_cache(llama, ids[:, :4], names_filter="layers.1.resid_post")
    for edit in (
        Intervention.restore(cache.core),
        Intervention.replace(cache["layers.1.resid_post"]),
    ):
        with pytest.raises(tierod.InvalidArgument, match="4 tokens and this run 5"):
            tierod.run_with_hooks(llama, ids, interventions={"layers.1.resid_post": edit})


# 6. compiled modules


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # older programs use it
def test_compiled_modules_are_refused(llama, ids):
    with pytest.raises(tierod.StateError, match=r"torch\.compile"):
        tierod.instrument(torch.compile(llama))
    tm = tierod.instrument(llama)
    llama.model.layers[1].compile()
    with pytest.raises(tierod.StateError, match=r"model\.layers\.1.*torch\.compile"):
        with tm.session():
            pass
    with pytest.raises(tierod.StateError, match="TorchScript"):
        tierod.instrument(torch.jit.script(torch.nn.Linear(2, 2)))


# 7 and 8. copies in and out


class InPlace(torch.nn.Module):
    """Edits its layer's output in place, as DeepStack does."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 4)

    def forward(self, x):
        h = self.layer(x)
        h[:, 0] += 1
        return h


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_in_place_writes_of_the_model(dtype):
    torch.manual_seed(0)
    model, x = InPlace().to(dtype), torch.randn(2, 3, 4, dtype=dtype)
    with torch.no_grad():
        raw = model.layer(x)
        _, cache = tierod.run_with_cache(model, x, names_filter="@layer:out")
        assert torch.equal(cache["@layer:out"], raw)
        donor = torch.ones(2, 3, 4, dtype=dtype)
        edit = Intervention.replace(donor)
        for _ in range(2):  # an aliased donor would be right once and wrong the second time
            out = tierod.run_with_hooks(model, x, interventions={"@layer:out": edit})
            assert torch.equal(out[:, 0], 2 * donor[:, 0])
        assert torch.equal(donor, torch.ones(2, 3, 4, dtype=dtype))
        given = lambda h, e: donor  # noqa: E731
        tierod.run_with_hooks(model, x, fwd_hooks=[("@layer:out", given)])
        assert torch.equal(donor, torch.ones(2, 3, 4, dtype=dtype))


def test_a_callback_that_writes_and_returns_nothing_is_an_error(llama, ids):
    def sneaky(x, event):
        x[:, 0] = 0

    with pytest.raises(tierod.StateError, match="returned nothing"):
        tierod.run_with_hooks(llama, ids, fwd_hooks=[("layers.1.resid_post", sneaky)])


# sessions


def test_states(llama, ids):
    tm = tierod.instrument(llama)
    session = tm.session()
    session.capture("layers.0.resid_post")
    with session:
        with pytest.raises(tierod.StateError, match="open already"):
            session.open()
        logits(llama, ids)
    with pytest.raises(tierod.StateError, match="not open"):
        session.close()


def test_the_model_called_again_from_a_callback(llama, ids):
    tm = tierod.instrument(llama)

    def again(x, event):
        llama(ids)

    with pytest.raises(tierod.StateError, match="suspend"):
        tierod.run_with_hooks(tm, ids, fwd_hooks=[("layers.1.resid_post", again)])

    inner = []

    def suspended(x, event):
        with tierod.suspend():
            inner.append(logits(llama, ids))

    want = logits(llama, ids)
    out = tierod.run_with_hooks(tm, ids, fwd_hooks=[("layers.1.resid_post", suspended)])
    assert torch.equal(out.logits, want)
    assert torch.equal(inner[0], want)


def test_a_module_freed_under_the_session():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    tm = tierod.instrument(model)
    session = tm.session()
    session.capture("@0:out")
    session.open()
    model(torch.ones(1, 2))
    del model
    gc.collect()
    with pytest.raises(tierod.StateError, match="freed"):
        session.close()


def test_outer_sessions_act_first_and_captures_see_the_final_value():
    with tierod.Session() as outer, tierod.Session() as inner:
        outer.capture("a")
        outer.capture("a", when="before")
        outer.intervene("a", lambda x, e: x + 1)
        inner.intervene("a", lambda x, e: x * 10)
        y = tierod.hook_point(torch.ones(1, 2), "a")
    assert torch.equal(y, torch.full((1, 2), 20.0))
    assert torch.equal(outer.cache.at("a", when="after"), y)
    assert torch.equal(outer.cache.at("a", when="before"), torch.ones(1, 2))


def test_a_hundred_nested_sessions():
    sessions = [tierod.Session() for _ in range(100)]
    for session in sessions:
        session.intervene("a", lambda x, e: x + 1)
        session.open()
    assert tierod.hook_point(torch.zeros(1, 1), "a").item() == 100
    for session in reversed(sessions):
        session.close()


def test_threads():
    seen = {}

    def other(name):
        seen[name] = tierod.hook_point(torch.zeros(1, 1), "a").item()

    def run(name):
        thread = threading.Thread(target=other, args=(name,))
        thread.start()
        thread.join()

    with tierod.Session() as session:
        session.intervene("a", lambda x, e: x + 1)
        run("session")
        tierod.hook_point(torch.zeros(1, 1), "a")
    process = tierod.ProcessSession()
    process.intervene("a", lambda x, e: x + 1)
    process.capture("a")
    with process:
        run("process")
    assert seen == {"session": 0.0, "process": 1.0}
    assert process.cache["a"].item() == 1.0

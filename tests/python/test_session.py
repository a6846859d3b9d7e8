"""What sessions capture and edit, held against plain torch."""

import json

import pytest
import torch

import tierod
from tierod import Intervention, hook_point


def visit(x, **edits):
    with tierod.Session() as session:
        for name, (edit, selection) in edits.items():
            session.intervene(name, edit, **selection)
        return hook_point(x, next(iter(edits)))


@pytest.fixture
def x():
    return torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(0))


def test_reductions(x):
    spans = [{"cot": (1, 3)}, {"cot": (2, 5)}, {"cot": (0, 1)}]
    with tierod.Session() as session:
        session.set_spans(spans)
        session.capture("a", reduce="mean", spans="cot")
        hook_point(x, "a")
    want = torch.stack([x[r, b:e].mean(0) for r, (b, e) in enumerate(s["cot"] for s in spans)])
    assert torch.allclose(session.cache["a"], want, atol=1e-6)
    with tierod.Session() as session:
        session.capture("a", reduce="last_token")
        session.capture("a", reduce="covariance", when="before")
        hook_point(x, "a")
        hook_point(x + 1, "a")
    assert torch.equal(session.cache.at("a", call=0), x[:, -1])
    rows = torch.cat([x, x + 1]).reshape(-1, 8).double()
    moments = session.moments("a")
    assert moments.count == 30
    assert torch.allclose(moments.mean(), rows.mean(0))
    assert torch.allclose(moments.covariance(), rows.T.cov())


def test_ragged_spans_are_edited_where_they_lie(x):
    with tierod.Session() as session:
        session.set_spans([{"w": (1, 3)}, {"w": (2, 5)}, {"w": (0, 1)}])
        session.intervene("a", Intervention.zero(), spans="w")
        y = hook_point(x, "a")
    want = x.clone()
    want[0, 1:3], want[1, 2:5], want[2, 0:1] = 0, 0, 0
    assert torch.equal(y, want)


def test_affine_interventions(x):
    g = torch.Generator().manual_seed(1)
    read, write, mean = (torch.randn(8, generator=g, dtype=torch.float64) for _ in range(3))
    write = write / (read @ write)
    h = x.double()
    score = h @ read
    cases = {
        "ablate": (Intervention.ablate(read, write, mean),
                   h - ((h - mean) @ read)[..., None] * write),
        "swap": (Intervention.swap(read, write, torch.tensor(2.0)),
                 h + (2.0 - score)[..., None] * write),
        "add": (Intervention.add(write, -1.5), h - 1.5 * write),
        "swap_rows": (Intervention.swap(read, write, torch.tensor([1.0, 2.0, 3.0])),
                      h + (torch.tensor([1.0, 2, 3])[:, None] - score)[..., None] * write),
    }  # fmt: skip
    for name, (edit, want) in cases.items():
        got = visit(x.double(), a=(edit, {}))
        assert torch.allclose(got, want, atol=1e-12), name
    after = visit(x.double(), a=(Intervention.swap(read, write, torch.tensor(2.0)), {}))
    assert torch.allclose(after @ read, torch.full((3, 5), 2.0, dtype=torch.float64))
    with pytest.raises(tierod.InvalidArgument, match="r'w = 1"):
        Intervention.ablate(read, 2 * write, mean)


def test_bf16_computes_in_f32_and_rounds_once(x):
    read = torch.randn(8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    write = read / (read @ read)
    h = x.bfloat16()
    got = visit(h, a=(Intervention.swap(read, write, torch.tensor(0.5)), {}))
    exact = h.double() + (0.5 - h.double() @ read)[..., None] * write
    assert got.dtype == torch.bfloat16
    assert float((got.double() - exact).abs().max()) <= 2**-8 * float(exact.abs().max())


def test_gather_rows_and_heads():
    x = torch.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
    y = visit(x, **{"layers.0.q": (Intervention.resample([1, 0]), {"heads": [1, 3], "tokens": 0})})
    want = x.clone()
    want[:, 0, [1, 3]] = x[[1, 0]][:, 0, [1, 3]]
    assert torch.equal(y, want)


def test_gradients_at_a_site(x):
    x.requires_grad_()
    w = torch.randn(8, generator=torch.Generator().manual_seed(3))
    with tierod.Session() as session:
        session.capture("a", gradient=True)
        session.capture("a", gradient=True, when="before")
        session.intervene("a", lambda g, e: g * 2, gradient=True, tokens=0)
        (hook_point(x * 1.0, "a") @ w).sum().backward()
    raw = w.expand(3, 5, 8)
    want = raw.clone()
    want[:, 0] *= 2
    assert torch.allclose(session.cache.at("a", when="before"), raw)
    assert torch.allclose(session.cache.at("a", when="after"), want)
    assert torch.allclose(x.grad, want)


def test_gradients_pass_through_edits(x):
    h = x.double().requires_grad_()
    read = torch.randn(8, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    write = read / (read @ read)
    edit = Intervention.ablate(read, write, torch.zeros(8, dtype=torch.float64))

    def f(t):
        return visit(t, a=(edit, {"tokens": [1, 3]})) ** 2

    assert torch.autograd.gradcheck(f, (h,))


def test_a_gradient_that_never_arrives_is_an_error(x):
    with pytest.raises(tierod.SiteError, match="no gradient arrived"), tierod.Session() as session:
        session.capture("a", gradient=True)
        hook_point(x, "a")


@pytest.mark.parametrize("reentrant", [True, False])
def test_recomputation_under_checkpointing_is_no_second_event(x, reentrant):
    from torch.utils.checkpoint import checkpoint

    x.requires_grad_()
    lin = torch.nn.Linear(8, 8)

    def block(t):
        return hook_point(lin(t).tanh(), "a") ** 2

    def run(call):
        x.grad = None
        with tierod.Session() as session:
            session.capture("a")
            session.intervene("a", lambda h, e: h * 3)
            call().sum().backward()
        return x.grad.clone(), session

    want, _ = run(lambda: block(x))
    got, session = run(lambda: checkpoint(block, x, use_reentrant=reentrant))
    assert torch.allclose(got, want)
    assert [e.call for e in session.fired()] == [1]
    assert len(session.cache.find("a")) == 1


def test_edits_reach_recomputation_on_autograds_own_threads():
    """Backward passes that nest more than 60 deep go on in threads of autograd, as all do on a GPU."""
    import threading

    from torch.utils.checkpoint import checkpoint

    threads = set()

    def innermost(t):
        threads.add(threading.get_ident())
        return hook_point(t * 1.0, "a") ** 2

    def nested(t, depth):
        if depth == 0:
            return innermost(t)
        return checkpoint(nested, t, depth - 1, use_reentrant=True)

    x = torch.tensor([1.0, 2.0], requires_grad=True)
    for kind in (tierod.Session, tierod.ProcessSession):
        x.grad = None
        session = kind()
        session.capture("a")
        session.intervene("a", lambda h, e: h * 3)
        with session:
            nested(x, 70).sum().backward()
        assert torch.allclose(x.grad, 18 * x.detach())  # of (3 x)^2; without the edit 2 x
        assert len(session.cache.find("a")) == 1
    assert len(threads) > 1


def test_gradients_are_seen_on_autograds_own_threads():
    import threading

    threads = set()

    class Deep(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, depth):
            ctx.save_for_backward(x)
            ctx.depth = depth
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            threads.add(threading.get_ident())
            (x,) = ctx.saved_tensors
            if ctx.depth:
                with torch.enable_grad():
                    y = Deep.apply(x.detach().requires_grad_(), ctx.depth - 1)
                y.backward(g)
            return g, None

    x = torch.ones(2, requires_grad=True)
    with tierod.Session() as session:
        session.capture("a", gradient=True)
        h = hook_point(x * 2, "a")
        deep = Deep.apply(x * 1, 70)
        (h * 3 + deep).sum().backward()
    assert torch.equal(session.cache["a"], torch.full((2,), 3.0))
    assert len(threads) > 1


def test_inference_mode_captures_are_normal_tensors(x):
    with tierod.Session() as session, torch.inference_mode():
        session.capture("a")
        hook_point(x * 1, "a")
    assert not session.cache["a"].is_inference()


def test_json_round_trip(tmp_path, x):
    big = torch.randn(3, 5, 8, 16)[..., 0].expand(3, 5, 8).contiguous().repeat(1, 1, 20)
    session = tierod.Session()
    session.capture("**.resid_post", reduce="mean", tokens=[0, -1], dtype=torch.float64)
    session.intervene("a", Intervention.replace(big), rows=[0], phases=["decode"], steps=[2])
    session.intervene("a", Intervention.add(torch.ones(8), 0.5))
    session.set_spans({"cot": (1, 3)})
    with pytest.raises(tierod.InvalidArgument, match="tensor_dir"):
        session.to_json()
    text = session.to_json(str(tmp_path))
    assert len(list(tmp_path.iterdir())) == 1
    again = tierod.Session()
    again.configure(json.loads(text), str(tmp_path))
    assert again.to_json(str(tmp_path)) == text
    next(tmp_path.iterdir()).write_bytes(b"\0" * big.numel() * 4)
    with pytest.raises(OSError, match="digest"):
        tierod.Session().configure(json.loads(text), str(tmp_path))
    with pytest.raises(tierod.InvalidArgument, match="'tokns'"):
        tierod.Session().configure({"captures": [{"pattern": "a", "selection": {"tokns": [1]}}]})
    session.intervene("a", lambda h, e: None)
    with pytest.raises(tierod.StateError, match="callback"):
        session.to_json(str(tmp_path))


def test_decode_needs_a_known_offset_for_positions(x):
    with pytest.raises(tierod.StateError, match="position_offset"), tierod.Session() as session:
        session.capture("a", positions=[3])
        with tierod.PhaseScope("decode", 0):
            hook_point(x, "a")


def test_wrapped_methods():
    class Sampler(torch.nn.Module):
        def sample(self, n):
            return torch.ones(n, 2)

    model = torch.nn.Sequential(Sampler())
    tm = tierod.instrument(model, [tierod.method_site("action.velocity", "0", "sample")])
    with tm.session() as session:
        session.capture("action.velocity")
        session.intervene("action.velocity", Intervention.zero(), rows=1)
        out = model[0].sample(3)
    assert torch.equal(out, torch.tensor([[1.0, 1], [0, 0], [1, 1]]))
    assert torch.equal(session.cache["action.velocity"], out)
    assert "sample" not in model[0].__dict__


def test_moments_refuse_nan():
    moments = tierod.Moments()
    with pytest.raises(tierod.NumericalError, match="NaN"):
        moments.update(torch.tensor([[1.0, float("nan")]]))
    assert moments.count == 0


HOOK_DICTS = (
    "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs",
    "_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called",
)  # fmt: skip


def test_a_session_leaves_on_a_module_what_registering_a_hook_does():
    by_hand, net = torch.nn.Sequential(torch.nn.ReLU()), torch.nn.Sequential(torch.nn.ReLU())
    by_hand[0].register_forward_pre_hook(lambda *a: None, with_kwargs=True)
    by_hand[0].register_forward_hook(lambda *a: None)
    session = tierod.instrument(net).session()
    session.capture("@0:{in,out}")
    for _ in range(2):  # put on anew, and again from what was kept
        with session:
            net(torch.ones(2))
            for name in HOOK_DICTS:
                ours, theirs = getattr(net[0], name), getattr(by_hand[0], name)
                assert list(ours.values()).count(True) == list(theirs.values()).count(True), name
                assert len(ours) == len(theirs), name
            handle = net[0].register_forward_hook(lambda *a: None)
            assert len(net[0]._forward_hooks) == 2  # no number is given twice
            handle.remove()
        assert not any(getattr(net[0], name) for name in HOOK_DICTS)


def test_a_hook_is_called_as_a_module_calls_it():
    hook = tierod._core.ModuleHook(tierod.Site("a"))
    for wrong in ((), (None, ()), (None, (), None, None)):
        with pytest.raises(TypeError, match="three positional"):
            hook.on_output(*wrong)
    with pytest.raises(TypeError, match="three positional"):
        hook.on_output(None, (), output=None)
    with pytest.raises((TypeError, tierod.Error), match="kwargs"):
        hook.on_input(None, [], {})
    assert hook.on_output(None, (), torch.ones(1)) is None


def test_a_pattern_means_the_same_sites_each_time():
    net = torch.nn.Sequential(*[torch.nn.ReLU() for _ in range(3)])
    on = tierod.instrument(net)
    assert list(on.matching("@*:out")) == [name for name in on.names() if name.endswith(":out")]
    assert on.matching("@*:out") is on.matching("@*:out")
    for i in range(300):
        pattern = f"@{{0..{2 + i}}}:out"
        assert list(on.matching(pattern)) == ["@0:out", "@1:out", "@2:out"]
    with pytest.raises(tierod.SiteError, match="nearest"):
        on.matching("@3:out")

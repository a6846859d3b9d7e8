"""What could go wrong without a word: found by trying, each with the model's own answer as oracle."""

import copy
import threading
from collections import namedtuple

import pytest
import torch
from conftest import FAMILIES, SHAPE
from torch.utils.checkpoint import checkpoint
from transformers import CompileConfig

import tierod
from tierod import Intervention, hook_point

SITE = "layers.1.resid_post"


@pytest.fixture
def model():
    torch.manual_seed(0)
    return FAMILIES["llama"]().eval()


def generate(model, ids, **kwargs):
    kwargs = {"attention_mask": torch.ones_like(ids), "do_sample": False, **kwargs}
    return model.generate(ids, max_new_tokens=4, **kwargs)


def events(session, name):
    return [(e.event.phase, e.event.step) for e in session.cache.find(name)]


STEPS = [("prefill", -1), ("decode", 0), ("decode", 1), ("decode", 2)]

# the check that instrument() makes leaves nothing behind


def test_the_check_does_not_fill_the_callers_cache(model, ids):
    with torch.no_grad():
        one, two, three = (model(ids, use_cache=True).past_key_values for _ in range(3))
        want = model(ids[:, :2], past_key_values=one).logits
        output, _ = tierod.run_with_cache(model, ids[:, :2], past_key_values=two)
        assert torch.equal(output.logits, want)
        edit = {SITE: lambda h, e: None}
        output = tierod.run_with_hooks(model, ids[:, :2], past_key_values=three, interventions=edit)
        assert torch.equal(output.logits, want)


class Noisy(torch.nn.Module):
    """Draws, counts and keeps state in each forward."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.config = inner, inner.config
        self.norm = torch.nn.BatchNorm1d(1)
        self.register_buffer("count", torch.zeros(()))
        self.last = None

    def forward(self, input_ids):
        self.count += 1
        self.last = torch.rand(())
        self.extra = 1
        return self.inner(input_ids)


def test_the_check_leaves_modes_buffers_attributes_and_the_random_state(model):
    noisy = Noisy(model)
    noisy.train()
    noisy.inner.model.layers[0].eval()
    modes = [m.training for m in noisy.modules()]
    state = torch.get_rng_state()
    instrumented = tierod.instrument(noisy)
    assert instrumented.decoder is not None
    assert [m.training for m in noisy.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert noisy.count == 0
    assert noisy.last is None
    assert not hasattr(noisy, "extra")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_massive_activation_does_not_hide_which_child_adds_up(ids, dtype):
    torch.manual_seed(0)
    model = FAMILIES["llama"]().to(dtype).eval()
    with torch.no_grad():
        model.model.embed_tokens.weight[:, 3] = 500.0
        for layer in model.model.layers:
            layer.post_attention_layernorm.weight.mul_(0.02)
    tm = tierod.instrument(model)
    assert tm.addresses["layers.1.attn_out"].path == "model.layers.1.self_attn"
    assert tm.addresses["layers.1.mlp_out"].path == "model.layers.1.mlp"


@pytest.mark.parametrize("heads", [2, 4, 5, 6, 7])
def test_heads_and_tokens_are_not_mixed_up(heads):
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    shape = {**SHAPE, "num_attention_heads": heads, "num_key_value_heads": 1, "hidden_size": 24}
    model = Gemma3ForCausalLM(Gemma3TextConfig(**shape)).eval()
    tm = tierod.instrument(model)
    for length in (heads, heads + 1):
        tokens = torch.arange(length)[None] + 1
        with torch.no_grad():
            _, cache = tierod.run_with_cache(
                tm, tokens, names_filter="layers.0.{q,k}", pos_slice=-1
            )
            _, whole = tierod.run_with_cache(tm, tokens, names_filter="layers.0.{q,k}")
        for port in "qk":
            [entry] = whole.find((port, 0))
            assert entry.layout == "rhtd"
            assert torch.equal(cache[port, 0], entry.tensor[:, :, -1:])


def test_a_module_that_runs_twice_in_a_layer_is_no_port(ids):
    from transformers import PhiConfig, PhiForCausalLM

    torch.manual_seed(0)
    model = PhiForCausalLM(PhiConfig(**{k: v for k, v in SHAPE.items() if k != "head_dim"})).eval()
    tm = tierod.instrument(model)
    assert tm.addresses["layers.0.mlp_out"].path == "model.layers.0.mlp"
    with torch.no_grad():
        _, cache = tierod.run_with_cache(tm, ids)
    total = cache["resid_pre", 0] + cache["attn_out", 0] + cache["mlp_out", 0]
    assert torch.allclose(total, cache["resid_post", 0], atol=1e-5)


def test_what_cannot_be_checked_says_why():
    with torch.device("meta"):
        meta = FAMILIES["llama"]()
    assert "meta" in tierod.instrument(meta).missing["layers"]

    class Other(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.config = FAMILIES["llama"]().config
            self.layers = FAMILIES["llama"]().model.layers

        def forward(self, pixels):
            raise AssertionError

    found = tierod.instrument(Other())
    assert "TypeError" in found.missing["layers"]
    assert "@layers.0:out" in found.names()


# generation


def test_decode_steps_that_transformers_would_compile_run_eagerly(model, ids):
    torch._dynamo.reset()
    config = CompileConfig(backend="eager", fullgraph=False, mode=None)
    config._compile_all_devices = True
    kwargs = {"cache_implementation": "static", "compile_config": config}
    generate(model, ids, **kwargs)
    seen = []
    with tierod.instrument(model).session() as session:
        session.capture(SITE)
        session.intervene(SITE, lambda h, e: seen.append((e.phase, e.step)))
        generate(model, ids, **kwargs)
    assert events(session, SITE) == STEPS
    assert seen == STEPS


class Wrapper(torch.nn.Module):
    """Hands everything on to what it holds, as adapters of weights do."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)

    def forward(self, *args, **kwargs):
        return self.inner(*args, **kwargs)

    def generate(self, *args, **kwargs):
        return self.inner.generate(*args, **kwargs)


def test_generation_that_a_wrapper_hands_on_has_its_phases(model, ids):
    wrapped = Wrapper(model)
    with tierod.instrument(wrapped).session() as session:
        session.capture(SITE)
        generate(wrapped, ids)
    assert events(session, SITE) == STEPS


def test_drafts_of_the_same_model_are_a_branch(model, ids):
    with tierod.instrument(model).session() as session:
        session.capture("@lm_head:out")
        generate(model, ids[:1], assistant_early_exit=1)
    seen = session.cache.find("@lm_head:out")
    own = [(e.event.phase, e.event.step) for e in seen if not e.event.branch]
    drafts = {e.event.branch for e in seen if e.event.branch}
    assert own[0] == ("prefill", -1)
    assert all(phase in ("prefill", "decode") for phase, _ in own)
    assert drafts == {"nested generate"}


def test_wrappers_of_a_method_come_and_go_in_any_order(model, ids):
    site = tierod.method_site("out.ids", "", "generate")
    one, two = tierod.instrument(model, [site]).session(), tierod.instrument(model).session()
    one.capture("out.ids")
    two.capture(SITE)
    one.open()
    two.open()
    generate(model, ids)
    one.close()
    generate(model, ids)
    two.close()
    assert "generate" not in model.__dict__
    assert "_update_model_kwargs_for_generation" not in model.__dict__
    assert events(two, SITE) == STEPS * 2
    copy.deepcopy(model)


@pytest.mark.parametrize("legacy", [False, True])
def test_positions_of_a_cache_that_comes_by_position_or_as_tuples(ids, legacy):
    torch.manual_seed(0)
    gpt2 = FAMILIES["gpt2"]().eval()
    tm = tierod.instrument(gpt2)
    with torch.no_grad():
        past = gpt2(ids[:, :3], use_cache=True).past_key_values
        with tm.session() as session:
            session.capture("layers.0.resid_pre", positions=[4])
            if legacy:
                gpt2(ids[:, 3:], past_key_values=past.to_legacy_cache())
            else:
                gpt2.transformer(ids[:, 3:], past)
        _, cache = tierod.run_with_cache(tm, ids, names_filter="layers.0.resid_pre", pos_slice=4)
    assert torch.allclose(session.cache["resid_pre", 0], cache["resid_pre", 0], atol=1e-6)


# sessions


def test_hooks_of_an_earlier_with_do_not_act_again():
    net, x = torch.nn.Linear(2, 2), torch.ones(1, 2)
    session = tierod.instrument(net).session()
    plus_one = [("@:out", lambda h, e: h + 1)]
    for _ in range(2):
        with session.hooks(plus_one):
            got = net(x)
        assert torch.allclose(got, net(x) + 1)


def in_thread(work):
    result = []

    def guarded():
        try:
            result.append(work())
        except BaseException as error:
            result.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    thread.join()
    return result[0]


def test_a_session_that_another_thread_aborted_does_not_act():
    session = tierod.Session()
    session.intervene("a", lambda h, e: h + 100)
    session.open()
    in_thread(session.abort)
    with tierod.Session() as after:
        after.capture("a")
        assert hook_point(torch.zeros(2), "a").tolist() == [0, 0]
    assert after.cache["a"].tolist() == [0, 0]


def test_closing_on_another_thread_keeps_the_hooks(model, ids):
    session = tierod.instrument(model).session()
    session.capture(SITE)
    session.open()
    assert isinstance(in_thread(session.close), tierod.StateError)
    model(ids)
    session.close()
    assert len(session.cache.find(SITE)) == 1


def test_other_threads_and_suspended_forwards_are_not_stopped(model, ids):
    with torch.no_grad():
        want = model(ids).logits
        session = tierod.instrument(model).session()
        session.stop_at_layer(1)
        session.capture("layers.0.resid_post")
        with session:
            assert torch.equal(in_thread(lambda: model(ids).logits.detach()), want)
            with tierod.suspend():
                assert torch.equal(model(ids).logits, want)
            with pytest.raises(BaseException, match="stopped at a layer"):
                model(ids)


def test_other_threads_do_not_meet_this_ones_site_errors():
    class Named(torch.nn.Module):
        def forward(self, *, a):
            return a * 2

    net = Named()
    session = tierod.instrument(net).session()
    session.capture("@:in")
    session.open()
    assert in_thread(lambda: net(a=torch.ones(1))).tolist() == [2]
    session.abort()


def test_a_session_within_a_run_leaves_the_outer_ones_phase(model, ids):
    def look(*_):
        tierod.Session().abort()
        inner = tierod.instrument(model.lm_head).session()
        inner.open()
        inner.abort()
        other = tm.session()
        other.open()
        other.abort()

    tm = tierod.instrument(model)
    with tm.session() as session:
        session.capture("layers.2.resid_post")
        handle = model.model.layers[0].register_forward_hook(look)
        generate(model, ids)
        handle.remove()
    assert events(session, "layers.2.resid_post") == STEPS


def test_a_session_that_is_forgotten_takes_its_hooks_away(capfd):
    net = torch.nn.Sequential(torch.nn.Linear(2, 2))
    session = tierod.instrument(net).session()
    session.capture("@0:out")
    session.open()
    del session
    assert "destroyed while open" in capfd.readouterr().err
    assert not net[0]._forward_hooks


def test_a_failed_opening_takes_its_hooks_away():
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    session = tierod.instrument(net).session()
    session.capture("@{0,1}:out")
    del net[1]
    with pytest.raises(tierod.SiteError, match="instrument"):
        session.open()
    assert not net[0]._forward_hooks


def test_a_module_is_not_copied_under_a_session(model):
    with pytest.raises(tierod.StateError, match="close the session"):
        with tierod.instrument(model).session() as session:
            session.capture(SITE)
            copy.deepcopy(model)


def test_stopping_before_every_wanted_site_is_an_error(model, ids):
    with pytest.raises(tierod.SiteError, match="before layer 1"):
        tierod.run_with_cache(model, ids, names_filter="layers.2.*", stop_at_layer=1)


def test_donors_of_another_selection_are_refused():
    def run(act):
        with tierod.Session() as session:
            act(session)
            return hook_point(torch.arange(4.0)[None, :, None], "a"), session

    _, donor = run(lambda s: s.capture("a", tokens=[1]))
    edit = Intervention.restore(donor.cache)
    with pytest.raises(tierod.InvalidArgument, match="selection"):
        run(lambda s: s.intervene("a", edit, tokens=[3]))
    y, _ = run(lambda s: s.intervene("a", edit, tokens=[1]))
    assert y.flatten().tolist() == [0, 1, 2, 3]


def test_a_named_tuple_stays_one():
    Pair = namedtuple("Pair", "left right")

    class Net(torch.nn.Module):
        def forward(self, x):
            return Pair(x, x + 1)

    net = Net()
    site = tierod.module_site("right", "", index=1)
    with tierod.instrument(net, [site]).session() as session:
        session.intervene("right", Intervention.zero())
        out = net(torch.ones(1, 2))
    assert isinstance(out, Pair)
    assert out.right.tolist() == [[0, 0]]


def test_edits_are_exact_under_autocast():
    w = torch.nn.functional.normalize(
        torch.randn(8, generator=torch.Generator().manual_seed(0)), dim=0
    )
    h = torch.randn(4, 8, generator=torch.Generator().manual_seed(1))
    with tierod.Session() as session, torch.autocast("cpu", torch.bfloat16):
        session.intervene("a", Intervention.erase(w, w, torch.zeros(8)))
        y = hook_point(h, "a")
    assert float((y @ w).abs().max()) < 1e-5


def test_a_python_models_own_except_does_not_swallow_a_callbacks_error():
    def bad(h, e):
        raise TypeError("from the callback")

    def model(x):
        try:
            return hook_point(x, "a")
        except TypeError:
            return x

    with pytest.raises(TypeError, match="from the callback"):
        with tierod.Session() as session:
            session.intervene("a", bad)
            model(torch.ones(1))


def test_functorch_is_refused_by_name():
    with pytest.raises(tierod.StateError, match=r"'a'.*torch\.func"):
        with tierod.Session() as session:
            session.capture("a")
            torch.vmap(lambda x: hook_point(x, "a"))(torch.ones(2, 3))


# checkpoints


class Net(torch.nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.reentrant = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4), reentrant

    def block(self, x):
        return self.b(hook_point(self.a(x).tanh(), "h")).tanh()

    def forward(self, x):
        if self.reentrant is None:
            return self.block(x)
        return checkpoint(self.block, x, use_reentrant=self.reentrant)


@pytest.fixture
def x():
    return torch.randn(2, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)


def test_an_edit_in_a_checkpoint_needs_its_backward_in_the_session(x):
    net = Net(False)
    with pytest.raises(tierod.StateError, match="inside of a checkpoint"):
        with tierod.Session() as session:
            session.intervene("h", Intervention.zero())
            net(x).sum()
    with torch.no_grad(), tierod.Session() as session:
        session.intervene("h", Intervention.zero())
        net(x)


def test_the_same_for_a_module_that_checkpoints_itself(model, ids):
    model.train()
    model.gradient_checkpointing_enable()
    tm = tierod.instrument(model)
    with pytest.raises(tierod.StateError, match="checkpoints its layers"):
        with tm.session() as session:
            session.intervene(SITE, Intervention.zero(), tokens=0)
            model(ids)
    with tm.session() as session:
        session.intervene(SITE, Intervention.zero(), tokens=0)
        model(ids).logits.sum().backward()
    with tm.session() as session:
        session.intervene(SITE, Intervention.zero(), tokens=0)
        with torch.no_grad(), pytest.warns(UserWarning, match="requires_grad"):  # PyTorch's own
            model(ids)


def test_a_session_around_backward_alone_is_an_error(x):
    y = Net(False)(x)
    with pytest.raises(tierod.StateError, match="within backward"):
        with tierod.Session() as session:
            session.intervene("h", Intervention.zero())
            y.sum().backward()


@pytest.mark.parametrize("reentrant", [True, False])
def test_which_of_several_firings_is_recomputed_is_not_guessed(x, reentrant):
    net = Net(reentrant)
    with pytest.raises(tierod.StateError, match="several times"):
        with tierod.Session() as session:
            session.intervene("h", lambda h, e: h * (1 + e.call))
            (net(x) + net(2 * x)).sum().backward()


@pytest.mark.parametrize("reentrant", [True, False])
def test_positions_hold_in_a_recomputation(x, reentrant):
    def gradient(net):
        with tierod.Session() as session:
            session.intervene("h", Intervention.zero(), positions=[11])
            with tierod.PhaseScope("decode", 0, 10):
                y = net(x[None])
            x.grad = None
            y.sum().backward()
        return x.grad.clone()

    assert torch.allclose(gradient(Net(reentrant)), gradient(Net(None)))


def test_a_gradient_edit_does_not_end_with_its_session(x):
    with tierod.Session() as session:
        session.intervene("h", lambda g, e: g * 0, gradient=True)
        net = Net(None)
        one, two = net(x), net(x)
        one.sum().backward()
    with pytest.raises(RuntimeError, match="was closed"):
        two.sum().backward()


# an edit that the dtype cannot hold, a request that was refused


@pytest.mark.parametrize(
    ("dtype", "dose"), [(torch.float16, 1e5), (torch.bfloat16, 1e39), (torch.float32, 1e39)]
)
def test_a_dose_that_overflows_is_an_error(dtype, dose):
    net = torch.nn.Sequential(torch.nn.Identity())
    direction = torch.zeros(4, dtype=torch.float64)
    direction[1] = 1
    x = torch.ones(2, 4, dtype=dtype)
    for edit in (
        tierod.Intervention.add(direction, dose),
        tierod.Intervention.replace_broadcast(direction * dose),
        tierod.Intervention.replace_broadcast(torch.tensor(dose, dtype=torch.float64)),
    ):
        with pytest.raises(tierod.NumericalError, match="wider dtype"):
            with tierod.instrument(net).session() as session:
                session.intervene("@0:out", edit)
                net(x)
        with tierod.instrument(net).session() as session:  # and the model is as it was
            session.capture("@0:out")
            assert torch.equal(net(x), x)
    with tierod.instrument(net).session() as session:
        session.intervene(
            "@0:out", tierod.Intervention.replace_broadcast(direction * dose, allow_nonfinite=True)
        )
        assert torch.isinf(net(x)[:, 1]).all()


def test_an_edit_leaves_what_was_not_finite_before_alone():
    net = torch.nn.Sequential(torch.nn.Identity())
    x = torch.tensor([[1.0, float("-inf")]])  # a masked score
    with tierod.instrument(net).session() as session:
        session.intervene("@0:out", tierod.Intervention.add(torch.tensor([1.0, 0.0]), 2.0))
        assert torch.equal(net(x), torch.tensor([[3.0, float("-inf")]]))


def test_a_refused_request_puts_no_hook_on():
    net = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Identity())
    session = tierod.instrument(net).session()
    with pytest.raises(tierod.InvalidArgument):
        session.capture("@0:out", reduce="median")
    with pytest.raises(tierod.InvalidArgument, match="Intervention or a function"):
        session.intervene("@0:out", "zero")
    session.capture("@1:out")
    with session:
        assert not net[0]._forward_hooks
        with pytest.raises(tierod.InvalidArgument):
            session.capture("@0:out", reduce="median")
        assert not net[0]._forward_hooks
        net(torch.ones(1))


def test_a_process_session_counts_edits_of_all_threads():
    net = torch.nn.Sequential(torch.nn.Identity())
    session = tierod.instrument(net).process_session()
    session.intervene("@0:out", tierod.Intervention.zero())
    results = []
    with session:
        threads = [
            threading.Thread(target=lambda: results.extend(net(torch.ones(1)) for _ in range(200)))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(results) == 800
    assert not torch.stack(results).any()

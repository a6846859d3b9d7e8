"""Several sessions on one module, on several modules, and on several threads."""

import threading

import pytest
import torch
from conftest import FAMILIES

import tierod
from tierod import Intervention

SITE = "layers.1.resid_post"


@pytest.fixture
def model():
    torch.manual_seed(0)
    return FAMILIES["llama"]().eval()


def forward(model, ids):
    with torch.no_grad():
        return model(ids).logits


def generate(model, ids, **kwargs):
    return model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=4, **kwargs
    )


def test_two_sessions_on_one_module_see_each_event_once(model, ids):
    for inner_on in (tierod.instrument(model), outer_on := tierod.instrument(model)):
        with outer_on.session() as outer, inner_on.session() as inner:
            outer.capture(SITE)
            inner.capture(SITE)
            inner.capture(SITE, when="before")
            outer.intervene(SITE, lambda h, e: h + 1)
            inner.intervene(SITE, lambda h, e: h * 2)
            forward(model, ids)
        _, clean = tierod.run_with_cache(model, ids, names_filter=SITE)
        assert torch.equal(inner.cache.at(SITE, when="before"), clean[SITE])
        assert torch.equal(outer.cache[SITE], (clean[SITE] + 1) * 2)
        assert torch.equal(inner.cache.at(SITE, when="after"), outer.cache[SITE])
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert "generate" not in model.__dict__


def test_closing_the_outer_session_leaves_the_inner_ones_hooks(model, ids):
    tm = tierod.instrument(model)
    outer, inner = tm.session(), tm.session()
    for session in (outer, inner):
        session.capture(SITE)
        session.open()
    forward(model, ids)
    outer.close()
    forward(model, ids)
    inner.close()
    assert len(outer.cache.find(SITE)) == 1
    assert len(inner.cache.find(SITE)) == 2


def test_an_idiom_inside_of_an_open_session(model, ids):
    with tierod.instrument(model).session() as session:
        session.capture(SITE)
        _, cache = tierod.run_with_cache(model, ids, names_filter="layers.*.resid_post")
    assert torch.equal(session.cache[SITE], cache[SITE])


def test_models_with_equal_site_names_do_not_mix(ids):
    torch.manual_seed(0)
    one, two = FAMILIES["llama"]().eval(), FAMILIES["qwen3"]().eval()
    want = [tierod.run_with_cache(m, ids, names_filter=SITE)[1][SITE] for m in (one, two)]
    with tierod.instrument(one).session() as a, tierod.instrument(two).session() as b:
        a.capture(SITE)
        b.capture(SITE)
        b.intervene("layers.0.resid_post", Intervention.zero())
        forward(one, ids)
        forward(two, ids)
        forward(one, ids)
    assert len(a.cache.find(SITE)) == 2
    assert torch.equal(a.cache.at(SITE, call=0), want[0])
    assert not torch.equal(b.cache[SITE], want[1])


def test_a_callback_that_captures_from_the_same_model(model, ids):
    want = tierod.run_with_cache(model, ids, names_filter="layers.*.resid_post")[1]
    inner = []

    def look(h, event):
        with tierod.suspend():
            inner.append(tierod.run_with_cache(model, ids, names_filter="layers.*.resid_post")[1])
            generate(model, ids)

    with tierod.instrument(model).session() as session:
        session.intervene(SITE, look, phases="decode", steps=1)
        session.capture("layers.2.resid_post")
        generate(model, ids)
    assert len(inner) == 1
    for name in want:
        assert torch.equal(inner[0][name], want[name])
    events = [(e.event.phase, e.event.step) for e in session.cache.find("layers.2.resid_post")]
    assert events == [("prefill", -1), ("decode", 0), ("decode", 1), ("decode", 2)]


def test_phases_reach_what_runs_after_the_decoder(model, ids):
    with tierod.instrument(model).session() as session:
        session.capture("@lm_head:out")
        generate(model, ids)
    events = [(e.event.phase, e.event.step) for e in session.cache.find("@lm_head:out")]
    assert events == [("prefill", -1), ("decode", 0), ("decode", 1), ("decode", 2)]


def test_an_interrupt_in_a_run_does_not_shift_the_next_ones_phases(model, ids):
    calls = []

    def interrupt(h, event):
        calls.append(event)
        if len(calls) == 3:
            raise KeyboardInterrupt

    session = tierod.instrument(model).session()
    session.intervene(SITE, interrupt)
    with pytest.raises(KeyboardInterrupt):
        with session:
            generate(model, ids)
    with tierod.instrument(model).session() as after:
        after.capture(SITE)
        forward(model, ids)
    assert [(e.event.phase, e.event.step) for e in after.cache.find(SITE)] == [("none", -1)]


def run_in_threads(count, work):
    errors = []

    def guarded(i):
        try:
            work(i)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_sessions_of_threads_on_one_module_do_not_mix(model, ids):
    tm = tierod.instrument(model)
    want = [tierod.run_with_cache(tm, ids + i, names_filter=SITE)[1][SITE] for i in range(4)]
    good = []

    def work(i):
        for _ in range(5):
            with tm.session() as session:
                session.capture(SITE)
                forward(model, ids + i)
            good.append(torch.equal(session.cache[SITE], want[i]))

    run_in_threads(4, work)
    assert good == [True] * 20
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_process_session_keeps_the_phases_of_threads_apart(model, ids):
    barrier = threading.Barrier(3)

    def work(i):
        barrier.wait()
        forward(model, ids) if i == 0 else generate(model, ids)

    session = tierod.instrument(model).process_session()
    session.capture(SITE)
    with session:
        run_in_threads(3, work)
    seen = sorted((e.event.phase, e.event.step) for e in session.cache.find(SITE))
    twice = [("prefill", -1), ("decode", 0), ("decode", 1), ("decode", 2)] * 2
    assert seen == sorted([("none", -1), *twice])


def test_one_name_for_two_places_is_refused_while_both_are_open():
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    first, second = (tierod.instrument(net, {"h": path}) for path in ("0", "1"))
    with first.session() as session:
        session.capture("h")
        other = second.session()
        other.capture("@0:out")
        other.capture("h")
        with pytest.raises(tierod.SiteError, match="'h' means '1' here, and '0'"):
            other.open()
        net(torch.ones(1, 2))
    assert not any(m._forward_hooks for m in net)
    with other:
        net(torch.ones(1, 2))
    assert torch.equal(other.cache["h"], net(torch.ones(1, 2)))

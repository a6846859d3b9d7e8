"""The op tierod::hook: what PyTorch demands of a custom op, and sessions in graphs."""

import subprocess
import sys

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

import tierod

OP = torch.ops.tierod.hook


def test_opcheck():
    for x in (torch.randn(3, 4), torch.randn(3, 4, requires_grad=True), torch.randn(4, 3).t()):
        torch.library.opcheck(OP.default, (x, "layers.0.resid_post"))
        torch.library.opcheck(OP.default, (x, "layers.0.resid_post", "decode", 3))


def test_gradients_against_finite_differences():
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda t: OP(t, "a") * 2, (x,))
    assert gradgradcheck(lambda t: OP(t, "a") ** 3, (x,))


def test_the_output_never_aliases_the_input():
    x = torch.ones(3)
    y = OP(x, "a")
    y += 1
    assert torch.equal(x, torch.ones(3))


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = torch.nn.Linear(4, 4), torch.nn.Linear(4, 2)

    def forward(self, x):
        return self.b(tierod.hook_point(self.a(x).relu(), "layers.0.resid_post"))


def test_compiled_without_recompilation_when_a_session_toggles():
    torch._dynamo.reset()
    model, x = Model(), torch.randn(3, 4)
    graphs = []

    def backend(gm, inputs):
        graphs.append(gm)
        return gm

    compiled = torch.compile(model, fullgraph=True, backend=backend)
    want = model(x)
    assert torch.equal(compiled(x), want)
    with tierod.Session() as session:
        session.capture("layers.0.resid_post")
        assert torch.equal(compiled(x), want)
    assert torch.equal(session.cache["layers.0.resid_post"], model.a(x).relu())
    with tierod.Session() as session:
        session.intervene("layers.0.resid_post", tierod.Intervention.zero())
        assert torch.equal(compiled(x), model.b.bias.expand(3, 2))
    assert torch.equal(compiled(x), want)
    assert len(graphs) == 1


def test_compiled_gradients_are_captured():
    torch._dynamo.reset()
    model, x = Model(), torch.randn(3, 4)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with tierod.Session() as session:
        session.capture("layers.0.resid_post", gradient=True)
        session.capture("layers.0.resid_post")
        compiled(x).sum().backward()
    want = torch.ones(3, 2) @ model.b.weight
    assert torch.allclose(session.cache.at("layers.0.resid_post", gradient=True), want)


@pytest.mark.parametrize("strict", [True, False])
def test_export_save_load_in_a_fresh_process(tmp_path, strict):
    model, x = Model().eval(), torch.randn(3, 4)
    program = torch.export.export(model, (x,), strict=strict)
    targets = [node.target for node in program.graph.nodes]
    assert targets.count(OP.default) == 1
    torch.export.save(program, tmp_path / "model.pt2")
    torch.save((x, model.b.bias.detach()), tmp_path / "data.pt")
    code = (
        "import sys, torch, tierod\n"
        "x, bias = torch.load(sys.argv[2])\n"
        "m = torch.export.load(sys.argv[1]).module()\n"
        "with tierod.Session() as s:\n"
        "    s.intervene('layers.0.resid_post', tierod.Intervention.zero())\n"
        "    y = m(x)\n"
        "assert torch.equal(y, bias.expand(3, 2)), y\n"
        "print('ok')\n"
    )
    args = [sys.executable, "-c", code, str(tmp_path / "model.pt2"), str(tmp_path / "data.pt")]
    done = subprocess.run(args, capture_output=True, text=True, check=False)
    assert done.stdout == "ok\n", done.stderr


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # older programs use it
def test_jit_trace_keeps_the_op_of_a_hook_point():
    site = tierod.Site("layers.0.resid_post")
    traced = torch.jit.trace(lambda x: tierod._core.hook_point(x * 2, site), (torch.ones(2),))
    assert "tierod::hook" in str(traced.graph)

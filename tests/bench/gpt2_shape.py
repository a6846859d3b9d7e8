"""One random GPT-2-shaped function, in as many bodies as there are contenders.

`write_data` draws the weights once and puts them on disk as raw float32, so that C++, plain
PyTorch, transformers and TransformerLens compute the same function of the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    """Sizes of a GPT-2-shaped model and of its input."""

    layers: int
    width: int
    heads: int
    mlp: int
    vocab: int
    tokens: int
    batch: int = 1

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Return the tensors' names and sizes, in the order in which they lie in the file."""
        d, m = self.width, self.mlp
        sizes: dict[str, tuple[int, ...]] = {"wte": (self.vocab, d), "wpe": (self.tokens, d)}
        for i in range(self.layers):
            block = {"ln1.w": (d,), "ln1.b": (d,), "qkv.w": (d, 3 * d), "qkv.b": (3 * d,)}
            block |= {"proj.w": (d, d), "proj.b": (d,), "ln2.w": (d,), "ln2.b": (d,)}
            block |= {"fc.w": (d, m), "fc.b": (m,), "out.w": (m, d), "out.b": (d,)}
            sizes |= {f"{i}.{key}": size for key, size in block.items()}
        return sizes | {"lnf.w": (d,), "lnf.b": (d,), "head.w": (d, self.vocab)}

    def flops(self) -> int:
        """Count the matrix products' floating-point operations (attention at full length)."""
        d, rows = self.width, self.batch * self.tokens
        products = self.layers * (4 * d * d + 2 * d * self.mlp) + d * self.vocab
        attention = self.layers * 2 * self.tokens * d
        return 2 * rows * (products + attention)


# 48x16 does nearly no arithmetic, so that the cost of a hook shows; 12x512 is bound by it.
SHAPES = {
    "48x16": Shape(layers=48, width=16, heads=2, mlp=32, vocab=64, tokens=64),
    "12x512": Shape(layers=12, width=512, heads=8, mlp=2048, vocab=8192, tokens=128),
    # sweeps: row 0 is the base, row 1 the source
    "sweep_4x128": Shape(layers=4, width=128, heads=4, mlp=512, vocab=1024, tokens=32, batch=2),
    "sweep_12x512": Shape(layers=12, width=512, heads=8, mlp=2048, vocab=8192, tokens=64, batch=2),
}


def write_data(name: str, folder: Path, seed: int = 0) -> None:
    """Draw the weights and tokens of a shape; write `<name>.f32`, `<name>.tokens`, `<name>.txt`.

    The text file is what C++ reads: the shape's numbers, then one `name sizes...` a tensor.
    """
    shape = SHAPES[name]
    generator = torch.Generator().manual_seed(seed)
    rows = [
        f"{shape.layers} {shape.width} {shape.heads} {shape.mlp} "
        f"{shape.vocab} {shape.tokens} {shape.batch}"
    ]
    with (folder / f"{name}.f32").open("wb") as file:
        for key, size in shape.parameters().items():
            value = torch.randn(size, generator=generator) * _scale(key, size)
            if key.endswith((".w", "lnf.w")) and len(size) == 1:
                value += 1
            file.write(value.numpy().tobytes())
            rows.append(" ".join(map(str, (key, *size))))
    tokens = torch.randint(shape.vocab, (shape.batch, shape.tokens), generator=generator)
    (folder / f"{name}.tokens").write_bytes(tokens.numpy().tobytes())
    (folder / f"{name}.txt").write_text("\n".join(rows) + "\n")


def _scale(key: str, size: tuple[int, ...]) -> float:
    if len(size) == 1:
        return 0.1 if "ln" in key else 0.02
    if key in ("wte", "wpe"):
        return 0.5 if key == "wte" else 0.1
    # A little above 1/sqrt(fan in) for q, k and v, so that attention is not uniform.
    return (1.5 if "qkv" in key else 1.0) * size[0] ** -0.5


def read_data(name: str, folder: Path) -> tuple[dict[str, Tensor], Tensor]:
    """Return the weights by name and the tokens that `write_data` wrote."""
    shape = SHAPES[name]
    flat = torch.frombuffer(bytearray((folder / f"{name}.f32").read_bytes()), dtype=torch.float32)
    weights, at = {}, 0
    for key, size in shape.parameters().items():
        count = torch.Size(size).numel()
        weights[key] = flat[at : at + count].view(size).clone()
        at += count
    raw = bytearray((folder / f"{name}.tokens").read_bytes())
    return weights, torch.frombuffer(raw, dtype=torch.int64).view(shape.batch, shape.tokens).clone()


class PlainBlock(nn.Module):
    """A pre-norm transformer block in the fewest torch calls."""

    def __init__(self, shape: Shape, weights: dict[str, Tensor], index: int):
        super().__init__()
        self.shape = shape
        for key in ("ln1", "qkv", "proj", "ln2", "fc", "out"):
            for part in "wb":
                self.register_buffer(f"{key}_{part}", weights[f"{index}.{key}.{part}"])

    def forward(self, x: Tensor) -> Tensor:
        s, size = self.shape, x.shape
        y = F.layer_norm(x, (s.width,), self.ln1_w, self.ln1_b).view(-1, s.width)
        qkv = torch.addmm(self.qkv_b, y, self.qkv_w)
        q, k, v = qkv.view(*size[:2], 3, s.heads, s.head_width).permute(2, 0, 3, 1, 4)
        z = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
        x = x + torch.addmm(self.proj_b, z.reshape(-1, s.width), self.proj_w).view(size)
        y = F.layer_norm(x, (s.width,), self.ln2_w, self.ln2_b).view(-1, s.width)
        y = F.gelu(torch.addmm(self.fc_b, y, self.fc_w), approximate="tanh")
        return x + torch.addmm(self.out_b, y, self.out_w).view(size)


class Plain(nn.Module):
    """The function in plain PyTorch: the reference that all others are checked against."""

    def __init__(self, shape: Shape, weights: dict[str, Tensor]):
        super().__init__()
        for key in ("wte", "wpe", "lnf.w", "lnf.b", "head.w"):
            self.register_buffer(key.replace(".", "_"), weights[key])
        self.layers = nn.ModuleList(PlainBlock(shape, weights, i) for i in range(shape.layers))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.wte[tokens] + self.wpe[: tokens.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return F.layer_norm(x, x.shape[-1:], self.lnf_w, self.lnf_b) @ self.head_w


@torch.no_grad()
def hugging_face(shape: Shape, weights: dict[str, Tensor], attention: str = "sdpa") -> nn.Module:
    """Return the function as transformers' GPT2LMHeadModel."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=shape.vocab,
        n_positions=shape.tokens,
        n_embd=shape.width,
        n_layer=shape.layers,
        n_head=shape.heads,
        n_inner=shape.mlp,
        activation_function="gelu_new",
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        tie_word_embeddings=False,
        use_cache=False,
        bos_token_id=0,
        eos_token_id=0,
    )
    config._attn_implementation = attention
    model = GPT2LMHeadModel(config).eval()
    body = model.transformer
    body.wte.weight.copy_(weights["wte"])
    body.wpe.weight.copy_(weights["wpe"])
    model.lm_head.weight.copy_(weights["head.w"].T)
    places = {"ln1": "ln_1", "qkv": "attn.c_attn", "proj": "attn.c_proj"}
    places |= {"ln2": "ln_2", "fc": "mlp.c_fc", "out": "mlp.c_proj"}
    targets = {"lnf": body.ln_f}
    for i, block in enumerate(body.h):
        targets |= {f"{i}.{key}": block.get_submodule(path) for key, path in places.items()}
    for key, module in targets.items():
        module.weight.copy_(weights[f"{key}.w"])
        module.bias.copy_(weights[f"{key}.b"])
    return model


@torch.no_grad()
def hooked_transformer(shape: Shape, weights: dict[str, Tensor]) -> nn.Module:
    """Return the function as TransformerLens' (before 4.0) HookedTransformer."""
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    config = HookedTransformerConfig(
        n_layers=shape.layers,
        d_model=shape.width,
        n_ctx=shape.tokens,
        d_head=shape.head_width,
        n_heads=shape.heads,
        d_mlp=shape.mlp,
        d_vocab=shape.vocab,
        act_fn="gelu_new",
        normalization_type="LN",
        positional_embedding_type="standard",
        device="cpu",
        seed=0,
    )
    model = HookedTransformer(config).eval()
    model.embed.W_E.copy_(weights["wte"])
    model.pos_embed.W_pos.copy_(weights["wpe"])
    model.unembed.W_U.copy_(weights["head.w"])
    model.unembed.b_U.zero_()
    norms = {"lnf": model.ln_final}
    heads, per_head = shape.heads, shape.head_width
    for i, block in enumerate(model.blocks):
        norms |= {f"{i}.ln1": block.ln1, f"{i}.ln2": block.ln2}
        parts = weights[f"{i}.qkv.w"].chunk(3, 1), weights[f"{i}.qkv.b"].chunk(3)
        for letter, w, b in zip("QKV", *parts, strict=True):
            target = getattr(block.attn, f"W_{letter}")
            target.copy_(w.view(shape.width, heads, per_head).transpose(0, 1))
            getattr(block.attn, f"b_{letter}").copy_(b.view(heads, per_head))
        block.attn.W_O.copy_(weights[f"{i}.proj.w"].view(heads, per_head, shape.width))
        block.attn.b_O.copy_(weights[f"{i}.proj.b"])
        block.mlp.W_in.copy_(weights[f"{i}.fc.w"])
        block.mlp.b_in.copy_(weights[f"{i}.fc.b"])
        block.mlp.W_out.copy_(weights[f"{i}.out.w"])
        block.mlp.b_out.copy_(weights[f"{i}.out.b"])
    for key, norm in norms.items():
        norm.w.copy_(weights[f"{key}.w"])
        norm.b.copy_(weights[f"{key}.b"])
    return model

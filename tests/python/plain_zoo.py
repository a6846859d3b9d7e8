"""The zoo's network written again in plain PyTorch, from its description: an oracle and a peer.

It shares no code with tierod. Words are chosen greedily or given; noise is given. As a peer it does what a
first implementation would: it keeps a cache while words are written, and then reads prefix and words in one
more pass for the expert, with 8 Euler steps.
"""

from __future__ import annotations

import math

import h5py
import torch
from torch import Tensor
from torch.nn.functional import (
    conv2d,
    embedding,
    layer_norm,
    linear,
    relu,
    scaled_dot_product_attention,
    silu,
)

WIDTH, HEADS, KV_HEADS, HEAD = 64, 4, 2, 16
LAYERS, PREFIX, IMAGE, WAYPOINTS = 3, 27, 18, 16
COT, ACT, LONGEST = 1, 2, 34
FIRST_PROMPT, FIRST_NAVIGATION = 23, 35  # tokens


class PlainZoo:
    """Weights of one model's file."""

    def __init__(self, path: str):
        with h5py.File(path) as file:
            weights: dict[str, Tensor] = {}
            file["weights"].visititems(
                lambda name, item: weights.__setitem__(name, torch.tensor(item[()]))
            )
        self.w = weights

    def turn(self, positions: Tensor) -> Tensor:
        """Rotation of positions [..., tokens] as cosine and sine [..., tokens, 1, HEAD / 2]."""
        rate = 1000.0 ** (-torch.arange(HEAD // 2, dtype=torch.float64) / (HEAD // 2))
        angle = positions.double()[..., None, None] * rate
        return torch.stack([angle.cos(), angle.sin()]).float()

    def rotated(self, x: Tensor, turn: Tensor) -> Tensor:
        cosine, sine = turn
        even, odd = x[..., 0::2], x[..., 1::2]
        return torch.stack([even * cosine - odd * sine, even * sine + odd * cosine], -1).flatten(-2)

    def projected(self, name: str, x: Tensor, kv: int, turn: Tensor | None):
        w = self.w
        x = layer_norm(x, (WIDTH,), w[f"{name}.attention_norm_w"], w[f"{name}.attention_norm_b"])
        every = linear(x, w[f"{name}.qkv_w"]).unflatten(-1, (HEADS + 2 * kv, HEAD))
        q, k, v = every.split([HEADS, kv, kv], 2)
        if turn is not None:
            q = self.rotated(layer_norm(q, (HEAD,), w[f"{name}.query_norm_w"]), turn)
            k = self.rotated(layer_norm(k, (HEAD,), w[f"{name}.key_norm_w"]), turn)
        return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)

    def finished(self, name: str, x: Tensor, mixed: Tensor) -> Tensor:
        w = self.w
        x = x + linear(mixed.transpose(1, 2).flatten(2), w[f"{name}.out_w"])
        hidden = layer_norm(x, (WIDTH,), w[f"{name}.mlp_norm_w"], w[f"{name}.mlp_norm_b"])
        hidden = silu(linear(hidden, w[f"{name}.up_w"], w[f"{name}.up_b"]))
        return x + linear(hidden, w[f"{name}.down_w"], w[f"{name}.down_b"])

    def prefix(self, image: Tensor, ego: Tensor, navigation: Tensor, framing: int = 0) -> Tensor:
        w, rows = self.w, len(image)
        x = image.float() / 64
        for i in range(3):
            x = conv2d(x, w[f"stem{i}_w"], w[f"stem{i}_b"], stride=2, padding=1)
            x = relu(x) if i < 2 else x
        x = x.flatten(2).transpose(1, 2) + w["patch_position"]
        q, k, v = self.projected("vision0", x, HEADS, None)
        x = self.finished("vision0", x, scaled_dot_product_attention(q, k, v))
        # patches 6 x 12, two by two
        x = x.unflatten(1, (3, 2, 6, 2)).transpose(2, 3).flatten(3).reshape(rows, IMAGE, 4 * WIDTH)
        x = layer_norm(x, (4 * WIDTH,), w["merge_norm_w"], w["merge_norm_b"])
        image_tokens = linear(x, w["merge_w"], w["merge_b"])
        first = FIRST_PROMPT + 3 * framing
        prompt = torch.tensor([first, first + 1, first + 2]).expand(rows, 3)
        prompt = torch.cat([prompt, navigation[:, None] + FIRST_NAVIGATION], 1)
        state = torch.stack([(ego[..., 0] - 11.5) * 0.5, ego[..., 1] * 1.7], -1)
        return torch.cat(
            [
                embedding(prompt, w["token_embedding"]),
                image_tokens,
                linear(state, w["ego_w"], w["ego_b"]),
                embedding(torch.full((rows, 1), COT), w["token_embedding"]),
            ],
            1,
        )

    def language(self, x: Tensor, begin: int, cache: list[tuple[Tensor, Tensor]] | None):
        """Read tokens at positions from `begin` on; returns states and the longer cache."""
        turn = self.turn(torch.arange(begin, begin + x.shape[1]))
        longer = []
        for layer in range(LAYERS):
            q, k, v = self.projected(f"vlm{layer}", x, KV_HEADS, turn)
            if cache is not None:
                k, v = torch.cat([cache[layer][0], k], 2), torch.cat([cache[layer][1], v], 2)
            longer.append((k, v))
            mixed = scaled_dot_product_attention(q, k, v, is_causal=x.shape[1] > 1, enable_gqa=True)
            x = self.finished(f"vlm{layer}", x, mixed)
        return x, longer

    def logits(self, x: Tensor) -> Tensor:
        w = self.w
        return linear(layer_norm(x, (WIDTH,), w["final_norm_w"], w["final_norm_b"]), w["head_w"])

    def write(self, prefix: Tensor) -> Tensor:
        """Write words greedily, padded with 0 after <act>."""
        x, cache = self.language(prefix, 0, None)
        done = torch.zeros(len(prefix), dtype=torch.bool)
        words: list[Tensor] = []
        while not done.all() and len(words) < LONGEST:
            score = self.logits(x[:, -1])[:, ACT:FIRST_PROMPT]
            word = torch.where(done, 0, score.argmax(-1) + ACT)
            if len(words) == LONGEST - 1:
                word = torch.where(done, 0, ACT)
            words.append(word)
            done = done | (word == ACT)
            token = embedding(word[:, None], self.w["token_embedding"])
            x, cache = self.language(token, PREFIX + len(words) - 1, cache)
        return torch.stack(words, 1)

    def denoised(self, cache, words: Tensor, noise: Tensor, mask: str, steps: int, pinned: bool):
        w = self.w
        columns = torch.arange(PREFIX + words.shape[1])
        act = PREFIX + (words > 0).sum(1, keepdim=True) - 1
        seen = columns < PREFIX - 1 if mask == "cot" else columns <= act
        seen = torch.cat(
            [seen.expand(len(words), -1), torch.ones(len(words), WAYPOINTS, dtype=torch.bool)], 1
        )
        begin = torch.full_like(act, PREFIX + LONGEST) if pinned else act + 1
        turn = self.turn(begin + torch.arange(WAYPOINTS))
        x = noise
        for step in range(steps):
            time = step / steps
            angle = math.pi * time * 2.0 ** (torch.arange(8) - 1)
            waves = torch.cat([angle.sin(), angle.cos()])[None]
            moment = linear(
                silu(linear(waves, w["time1_w"], w["time1_b"])), w["time2_w"], w["time2_b"]
            )
            h = linear(x, w["action_w"], w["action_b"]) + w["action_position"] + moment[:, None]
            for layer in range(LAYERS):
                q, k, v = self.projected(f"expert{layer}", h, KV_HEADS, turn)
                k, v = torch.cat([cache[layer][0], k], 2), torch.cat([cache[layer][1], v], 2)
                mixed = scaled_dot_product_attention(
                    q, k, v, attn_mask=seen[:, None, None], enable_gqa=True
                )
                h = self.finished(f"expert{layer}", h, mixed)
            h = layer_norm(h, (WIDTH,), w["action_norm_w"], w["action_norm_b"])
            target = linear(h, w["action_out_w"], w["action_out_b"])
            x = x + (target - x) / (1 - time) / steps
        return x * torch.tensor([1.7, 0.005]) + torch.tensor([-0.8, 0.0])

    @torch.no_grad()
    def rollout(
        self,
        batch,
        noise: Tensor,
        *,
        words: Tensor | None = None,
        mask: str = "none",
        framing: int = 0,
        steps: int = 4,
        pinned: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Return words [rows, length], 0 after <act>, and actions [rows, 16, 2]."""
        prefix = self.prefix(batch["image"], batch["ego"], batch["navigation"], framing)
        if words is None:
            words = self.write(prefix)
        words = words.clamp_min(0)
        # once more, for the expert
        _, cache = self.language(
            torch.cat([prefix, embedding(words, self.w["token_embedding"])], 1), 0, None
        )
        return words, self.denoised(cache, words, noise, mask, steps, pinned)

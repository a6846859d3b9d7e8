"""Run an unmodified Hugging Face decoder block by block.

No version and no class name is looked at. One forward shows what each layer is given; a layer is then
called with the same arguments, cut to the positions at hand, and with keys and values of earlier
positions in place of a cache. The whole is checked against the model's own forward before it is used.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tierod import _core
from tierod.decoders import _stack, _tensor
from tierod.vla import Batch, BlockInput, BlockModel, BlockOutput

_CACHES = ("past_key_values", "past_key_value", "layer_past")
# Largest difference to the model's own forward, as a share of the largest number.
_ROUNDING = {torch.float64: 1e-11, torch.float32: 1e-4}


class NotSequentialError(_core.InvalidArgument):
    """Say why a model cannot be run layer by layer; whole forwards remain."""


class _Stop(Exception):
    """Leave a forward whose rest is not needed."""


class _Past:
    """Keys and values of earlier positions, where a layer expects a cache."""

    is_compileable = False

    def __init__(self, key: Tensor | None, value: Tensor | None, length: int) -> None:
        self._key, self._value, self._length = key, value, length
        self.key: Tensor | None = None
        self.value: Tensor | None = None

    def update(
        self, key: Tensor, value: Tensor, layer_idx: int = 0, cache_kwargs: Any = None
    ) -> tuple[Tensor, Tensor]:
        self.key, self.value = key, value
        if self._key is None or self._value is None:
            return key, value
        rows = (key.shape[0], -1, -1, -1)
        return (
            torch.cat([self._key.expand(rows), key], 2),
            torch.cat([self._value.expand(rows), value], 2),
        )

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self._length


@dataclass
class _Call:
    """What a layer is given beside the residual stream, for whole sequences."""

    name: str  # of the residual stream
    kwargs: dict[str, Any]
    cache: str | None


class DecoderBlocks(BlockModel):
    """A Hugging Face decoder (GPT-2, Llama, Qwen, Gemma, ...) as a `BlockModel`.

    A batch holds the model's inputs by name, such as `input_ids` [rows, positions]. Rows must be of
    one length without padding.

    Args:
        model: a decoder in eval mode.
        decoder: path of the list of layers, where it is not found.

    Raises:
        InvalidArgument: the model is training, or a row is padded.
        NotSequentialError: an InvalidArgument; there is no list of layers, a layer is not given what the
            layer before returned, or the model's own forward gives other numbers than its blocks.
    """

    def __init__(self, model: nn.Module, *, decoder: str | None = None) -> None:
        super().__init__()
        if model.training:
            raise _core.InvalidArgument(
                "[patch.DecoderBlocks] expected a model in eval mode: dropout makes every run another; "
                "call model.eval()"
            )
        stack = _stack(model, decoder)
        if stack is None:
            raise NotSequentialError(
                "[patch.DecoderBlocks] expected a ModuleList of equal layers with attention, and "
                f"{type(model).__name__} has none; name it by decoder="
            )
        self.model = model
        self._layers = list(model.get_submodule(stack).children())
        self._owner = model.get_submodule(stack.rpartition(".")[0])
        self._norm, self._head = self._find_rest(stack)
        self._calls: dict[int, list[_Call]] = {}  # by the number of positions

    def _find_rest(self, stack: str) -> tuple[nn.Module | None, nn.Module]:
        """Return the norm after the layers, and what makes outputs of it."""
        head = getattr(self.model, "get_output_embeddings", lambda: None)()
        if not isinstance(head, nn.Module):
            raise NotSequentialError(
                f"[patch.DecoderBlocks] expected a model with output embeddings, and "
                f"{type(self.model).__name__} has none; derive from BlockModel and write `finish`"
            )
        names = [name for name, _ in self._owner.named_children()]
        after = names[names.index(stack.rpartition(".")[2]) + 1 :]
        norms = [getattr(self._owner, name) for name in after if "norm" in name or "ln" in name]
        return (norms[0] if norms else None), head

    def blocks(self) -> int:
        return len(self._layers)

    def positions(self, batch: Batch) -> int:
        return self._ids(batch).shape[1]

    @staticmethod
    def _ids(batch: Batch) -> Tensor:
        for name in ("input_ids", "inputs_embeds"):
            if name in batch.tensors:
                return batch[name]
        raise _core.InvalidArgument(
            f"[patch.DecoderBlocks] expected 'input_ids' or 'inputs_embeds' in the batch, got {batch}"
        )

    def embed(self, batch: Batch) -> Tensor:
        mask = batch.tensors.get("attention_mask")
        if mask is not None and not bool((mask != 0).all()):
            raise _core.InvalidArgument(
                "[patch.DecoderBlocks] expected rows without padding: a block does not know which row "
                "it is given; group rows of equal length"
            )
        length = self.positions(batch)
        if length not in self._calls:
            self._learn(batch, length)
        return self._run(batch, only_first=True)[0]

    def _run(self, batch: Batch, *, only_first: bool) -> tuple[Tensor, list[Any], Any]:
        """Run the model's own forward; return what enters the layers, what each was given, the output."""
        given: list[Any] = [None] * len(self._layers)

        def keep(number: int) -> Any:
            def hook(_layer: nn.Module, args: Any, kwargs: Any) -> None:
                given[number] = (args, dict(kwargs))
                if only_first:
                    raise _Stop

            return hook

        watched = self._layers[:1] if only_first else self._layers
        handles = [
            layer.register_forward_pre_hook(keep(i), with_kwargs=True)
            for i, layer in enumerate(watched)
        ]
        output = None
        try:
            with torch.no_grad(), _core.Suspend():
                output = self.model(**batch.tensors, use_cache=False)
        except _Stop:
            pass
        finally:
            for handle in handles:
                handle.remove()
        if given[0] is None:
            raise NotSequentialError(
                "[patch.DecoderBlocks] the model's forward did not call its first layer"
            )
        call = self._call(0, *given[0])
        return call[1], given, output

    def _call(self, number: int, args: Any, kwargs: Any) -> tuple[_Call, Tensor]:
        """Name all arguments of a layer's call; return it without the residual stream, and that."""
        layer = self._layers[number]
        try:
            bound = inspect.signature(layer.forward).bind(*args, **kwargs)
        except TypeError as error:
            raise NotSequentialError(
                f"[patch.DecoderBlocks] the arguments of layer {number} have no names: {error}"
            ) from error
        named: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            kind = bound.signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_KEYWORD:
                named |= value
            else:
                named[name] = value
        stream = next((n for n, v in named.items() if isinstance(v, Tensor) and v.dim() == 3), None)
        if stream is None:
            raise NotSequentialError(
                f"[patch.DecoderBlocks] layer {number} was given no residual stream [rows, positions, width]"
            )
        hidden = named.pop(stream)
        known = {*bound.signature.parameters, *named}
        cache = next((name for name in _CACHES if name in known), None)
        if "use_cache" in known:
            named["use_cache"] = True
        return _Call(stream, named, cache), hidden

    def _learn(self, batch: Batch, length: int) -> None:
        """Learn what layers are given for so many positions, and hold the blocks against the model."""
        first = batch.select([0])
        hidden, given, output = self._run(first, only_first=False)
        calls: list[_Call] = []
        at = hidden
        self._calls[length] = calls
        try:
            for number in range(len(self._layers)):
                if given[number] is None:
                    raise NotSequentialError(
                        f"[patch.DecoderBlocks] layer {number} did not run as a module; blocks must follow "
                        "each other"
                    )
                call, entering = self._call(number, *given[number])
                if entering.shape != at.shape or not self._close(entering, at):
                    raise NotSequentialError(
                        f"[patch.DecoderBlocks] layer {number} is not given what layer {number - 1} returned, so "
                        "that the layers cannot be run one after the other"
                    )
                calls.append(call)
                at = self.block(number, BlockInput(entering)).hidden
            logits = getattr(output, "logits", None)
            mine = self.finish(at)
            if not isinstance(logits, Tensor) or not self._close(logits, mine):
                raise NotSequentialError(
                    f"[patch.DecoderBlocks] the blocks of {type(self.model).__name__} do not give the logits "
                    "of its own forward, so that it does more than its layers show"
                )
        except BaseException:
            del self._calls[length]
            raise

    @staticmethod
    def _close(a: Tensor, b: Tensor) -> bool:
        if a.shape != b.shape:
            return False
        bound = _ROUNDING.get(a.dtype, 0.05) * float(a.abs().max())
        return float((a - b).abs().max()) <= bound

    def block(self, index: Any, input: BlockInput) -> BlockOutput:
        hidden, begin = input.hidden, input.begin
        end = begin + hidden.shape[1]
        length = next((n for n in sorted(self._calls) if n >= end), None)
        if length is None:
            raise _core.StateError("[patch.DecoderBlocks] call embed() before block()")
        call = self._calls[length][min(index, len(self._calls[length]) - 1)]
        past = _Past(input.past_key, input.past_value, begin)
        kwargs = {
            name: self._cut(name, value, begin, end, length) for name, value in call.kwargs.items()
        }
        if begin > 0 and kwargs.get("attention_mask", 0) is None:
            kwargs["attention_mask"] = _causal(begin, end, hidden)
        if call.cache is None:
            raise NotSequentialError(
                "[patch.DecoderBlocks] the layers take no cache of keys and values; derive from BlockModel"
            )
        kwargs[call.cache] = past
        with torch.no_grad(), _core.Suspend():
            found = _tensor(self._layers[index](**{call.name: hidden}, **kwargs))
        if found is None or past.key is None or past.value is None:
            raise NotSequentialError(
                f"[patch.DecoderBlocks] layer {index} returned no residual stream, or filled no cache"
            )
        out = found[1]
        if input.outputs >= 0:
            out = out[:, out.shape[1] - input.outputs :]
        return BlockOutput(out, past.key, past.value)

    @staticmethod
    def _cut(name: str, value: Any, begin: int, end: int, length: int) -> Any:
        """Cut an argument for a whole sequence to positions [begin, end)."""
        if isinstance(value, (tuple, list)):
            return type(value)(DecoderBlocks._cut(name, v, begin, end, length) for v in value)
        if not isinstance(value, Tensor):
            return value
        if "mask" in name:
            if value.dim() == 4:
                return value[:, :, begin:end, :end]
            return value[..., :end]
        axes = [i for i, size in enumerate(value.shape) if size == length]
        if not axes or (begin == 0 and end == length):
            return value
        # cos and sin are [rows, positions, width], numbers of positions [rows, positions] or [positions]
        axis = 0 if value.dim() == 1 else value.dim() - 2 if value.dim() > 2 else 1
        return value.narrow(axis, begin, end - begin) if value.shape[axis] == length else value

    def finish(self, hidden: Tensor) -> Tensor:
        with torch.no_grad(), _core.Suspend():
            return self._capped(self._head(self._normed(hidden)))

    def _capped(self, logits: Tensor) -> Tensor:
        """Bound logits as Gemma does; what else a model does to them shows when it is checked."""
        cap = getattr(getattr(self.model, "config", None), "final_logit_softcapping", None)
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def _normed(self, hidden: Tensor) -> Tensor:
        return hidden if self._norm is None else self._norm(hidden)

    def finish_columns(self, hidden: Tensor, columns: Any) -> Tensor:
        head = self._head
        hooked = isinstance(head, nn.Module) and (head._forward_hooks or head._forward_pre_hooks)
        if type(head) is not nn.Linear or hooked:
            return self.finish(hidden)[..., columns]
        with torch.no_grad(), _core.Suspend():
            bias = None if head.bias is None else head.bias[columns]
            some = nn.functional.linear(self._normed(hidden), head.weight[columns], bias)
            return self._capped(some)


def _causal(begin: int, end: int, like: Tensor) -> Tensor:
    """Return a mask [1, 1, end - begin, end], true where position sees position."""
    here = torch.arange(begin, end, device=like.device).unsqueeze(1)
    return (torch.arange(end, device=like.device) <= here)[None, None]


def inputs_of(inputs: Any, where: str) -> Batch:
    """Return inputs as a batch: token ids [rows, positions], the model's inputs by name, or a batch."""
    if isinstance(inputs, Batch):
        return inputs
    if isinstance(inputs, Tensor):
        inputs = {"input_ids": inputs.unsqueeze(0) if inputs.dim() == 1 else inputs}
    if not isinstance(inputs, Mapping) or not all(isinstance(v, Tensor) for v in inputs.values()):
        raise _core.InvalidArgument(
            f"[patch.{where}] expected token ids [rows, positions], inputs by name, or a Batch, got "
            f"{type(inputs).__name__}"
        )
    tensors = dict(inputs)
    rows = next(iter(tensors.values())).shape[0] if tensors else 0
    return Batch(tensors, list(range(rows)))

"""Small models that the tests share."""

import shutil
import tempfile
from pathlib import Path

import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

SHAPE = {
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "eos_token_id": None,
    "bos_token_id": 1,
}
FAMILIES = {
    "llama": lambda **k: LlamaForCausalLM(LlamaConfig(**SHAPE, **k)),
    "qwen3": lambda **k: Qwen3ForCausalLM(Qwen3Config(**SHAPE, **k)),
    "gemma2": lambda **k: Gemma2ForCausalLM(Gemma2Config(**SHAPE, **k)),
    "gpt2": lambda **k: GPT2LMHeadModel(
        GPT2Config(
            vocab_size=50,
            n_embd=16,
            n_layer=3,
            n_head=4,
            n_positions=64,
            pad_token_id=0,
            eos_token_id=None,
            bos_token_id=1,
            **k,
        )
    ),
}


@pytest.fixture(params=list(FAMILIES))
def family(request):
    return request.param


@pytest.fixture
def decoder(family):
    torch.manual_seed(0)
    return FAMILIES[family]().eval()


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["f32", "bf16"])
def llama(request):
    torch.manual_seed(0)
    return FAMILIES["llama"]().to(request.param).eval()


@pytest.fixture
def ids():
    return torch.tensor([[3, 7, 11, 2, 9], [4, 8, 1, 5, 6]])


@pytest.fixture(autouse=True)
def nothing_stays_open():
    import tierod

    yield
    assert tierod._core.open_session_count() == 0


@pytest.fixture
def tmp_path(request, tmp_path):
    """In memory for the store's tests, where there is such a folder: what they test does not depend
    on the disk, and the time that fsync takes does."""
    shared = Path("/dev/shm")
    if not request.module.__name__.startswith("test_store") or not shared.is_dir():
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="tierod_", dir=shared))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def evaluated():
    """A dataset of `probe_case` and its evaluation, which takes seconds and nobody changes."""
    from probe_case import PENALTIES, world

    from tierod import probe

    data = world()
    return data, probe.evaluate(
        data, probe.RidgeFitter(PENALTIES), keep_scores=True, seed=3, permutations=199
    )

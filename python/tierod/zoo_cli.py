"""The command line `tierod zoo ...`: models whose truth is known."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import click

from tierod.console import DIFFERENCE, FINISHED, INTERRUPTED, errors, print_table, stop
from tierod.progress import stoppable

# What fits the time that training is given, 20 minutes of one core alone and 6 from a shared trunk: steps,
# rows of a step, share of flipped rows. From a trunk, that writes well already, more and smaller steps pay.
ALONE, FROM_TRUNK = (3200, 128, 0.35), (2000, 64, 0.5)

_as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
_seed = click.option("--seed", default=0, show_default=True, help="Of the scenes and the words.")
_model = click.argument("model")


@click.group()
def zoo() -> None:
    """Train, check and run driving models whose truth is known."""


@zoo.command("list")
@_as_json
def list_(as_json: bool) -> None:
    """List the models that ship."""
    from tierod.zoo import DrivingModel

    with errors():
        found: list[dict[str, Any]] = []
        for name in DrivingModel.names():
            model = DrivingModel.named(name)
            found.append(
                {
                    "name": name,
                    "roles": model.spec.roles,
                    "framing_sensitive": model.spec.framing_sensitive,
                    "weights_sha256": model.describe().weights_sha256,
                    "parameters": model.parameter_count,
                }
            )
        folder = DrivingModel.folder()
    if as_json:
        return click.echo(json.dumps({"folder": folder, "models": found}, indent=2))
    if not found:
        return click.echo(
            f"no models in {folder}; train one by: tierod zoo train mixed --out mixed.h5"
        )
    print_table(
        ["model", "roles", "weights"],
        [[m["name"], _roles_in_short(m["roles"]), m["weights_sha256"][:12]] for m in found],
    )
    return None


def _roles_in_short(roles: dict[str, str]) -> str:
    kinds = sorted(set(roles.values()))
    return f"all {kinds[0]}" if len(kinds) == 1 else ", ".join(kinds)


@zoo.command()
@_model
@_as_json
def show(model: str, as_json: bool) -> None:
    """Show what a model says and does by its specification, and how it was trained.

    MODEL is zoo:NAME, a bare NAME, or file:PATH.
    """
    from tierod.models import open_zoo_model

    with errors():
        opened = open_zoo_model(model)
    spec, log = opened.spec.to_dict(), opened.training_log
    if as_json:
        return click.echo(
            json.dumps(
                {
                    "spec": spec,
                    "weights_sha256": opened.describe().weights_sha256,
                    "parameters": opened.parameter_count,
                    "training_log": log,
                },
                indent=2,
            )
        )
    rows = [
        [
            concept,
            role["role"],
            f"{role['effect']:+.2f}" if role["effect"] else "",
            f"{role['curvature']:+.4f}" if role["curvature"] else "",
            f"by {role['proxy']}"
            if "proxy" in role
            else f"{role['share']:.0%} stated"
            if "share" in role
            else "",
        ]
        for concept, role in spec["roles"].items()
    ]
    print_table(["concept", "role", ">m/s^2", ">1/m", ""], rows, title=f"{spec['name']}")
    click.echo(
        f"mask {spec['mask']}, framing sensitive: {'yes' if spec['framing_sensitive'] else 'no'}"
    )
    click.echo(f"{opened.parameter_count} parameters, weights {opened.describe().weights_sha256}")
    if log:
        last = log[-1]
        click.echo(
            f"trained {last['step']} steps in {last['cpu_s'] / 60:.1f} min of CPU time: cross-entropy "
            f"{last['cross_entropy']:.3f} nats, flow {last['flow']:.4f}"
        )
    return None


def _read_spec(text: str) -> Any:
    """Return the specification called `text`, or that of a file of JSON or TOML."""
    from tierod._core import InvalidArgument
    from tierod.zoo import Spec

    path = Path(text)
    if path.suffix not in (".json", ".toml"):
        return Spec.named(text)
    try:
        content = path.read_text(encoding="utf-8")
        return Spec(tomllib.loads(content)) if path.suffix == ".toml" else Spec.from_json(content)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidArgument(
            f"[zoo train] expected a specification in '{text}': {error}"
        ) from error


@zoo.command()
@click.argument("spec")
@click.option(
    "--out", required=True, type=click.Path(dir_okay=False), help="File of the model, .h5."
)
@click.option("--trunk", help="Start from the weights of this model: zoo:NAME or file:PATH.")
@click.option("--steps", type=int, help=f"Default {ALONE[0]}; {FROM_TRUNK[0]} from a trunk.")
@click.option("--batch-size", type=int, help=f"Default {ALONE[1]}; {FROM_TRUNK[1]} from a trunk.")
@click.option("--learning-rate", default=2e-3, show_default=True)
@click.option(
    "--flipped-rows",
    type=float,
    help="Share of rows whose statements are flipped, to plant who steers. Default .35; .5 from a trunk.",
)
@click.option("--seed", default=0, show_default=True, help="Of the weights and of the scenes.")
@click.option("--threads", default=1, show_default=True, help="More do not pay for its size.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--every", default=100, show_default=True, help="Steps between checkpoints.")
def train(
    spec: str,
    out: str,
    trunk: str | None,
    steps: int | None,
    batch_size: int | None,
    learning_rate: float,
    flipped_rows: float | None,
    seed: int,
    threads: int,
    device: str,
    every: int,
) -> None:
    """Train a model by a specification, and write it to --out.

    SPEC is the name of one that ships, or a file of JSON or TOML. The checkpoint OUT.checkpoint is
    written as it goes: whoever is interrupted or killed says the same command again, and gets the
    same model to the last bit.
    """
    from tierod._core import InvalidArgument
    from tierod.models import open_zoo_model
    from tierod.zoo import Trainer, TrainOptions

    checkpoint = Path(f"{out}.checkpoint")
    with errors():
        if every < 1:
            raise InvalidArgument(f"[zoo train] expected --every >= 1, got {every}")
        if not Path(out).absolute().parent.is_dir():
            raise InvalidArgument(
                f"[zoo train] expected --out in a folder that is there, got '{out}'"
            )
        usual_steps, usual_rows, usual_flips = FROM_TRUNK if trunk else ALONE
        options = TrainOptions(
            steps=usual_steps if steps is None else steps,
            batch_size=usual_rows if batch_size is None else batch_size,
            learning_rate=learning_rate,
            flipped_rows=usual_flips if flipped_rows is None else flipped_rows,
            seed=seed,
            threads=threads,
            device=device,
        )
        wanted = _read_spec(spec)
        if checkpoint.exists():
            trainer = Trainer.resume(str(checkpoint))
            if trainer.spec != wanted or trainer.options != options:
                raise InvalidArgument(
                    f"[zoo train] expected the specification and options of the checkpoint '{checkpoint}' "
                    f"({trainer.options.to_json()}), got others; say them again, or remove the checkpoint"
                )
            click.echo(f"going on after step {trainer.step} of {options.steps}", err=True)
        else:
            trainer = Trainer(wanted, options, open_zoo_model(trunk) if trunk else None)
        with stoppable(f"train {wanted.name}", True) as progress:
            going = True
            while going and not trainer.finished:
                going = trainer.run(min(every, options.steps - trainer.step), progress)
                trainer.save(str(checkpoint))
        if not trainer.finished:
            stop(
                f"stopped after step {trainer.step} of {options.steps}, kept in '{checkpoint}'; the same "
                "command goes on",
                INTERRUPTED,
            )
        trainer.model().save(out)
        checkpoint.unlink()
    last = trainer.log()[-1]
    click.echo(
        f"{out}: {last.step} steps, {last.cpu_s / 60:.1f} min of CPU time, cross-entropy "
        f"{last.cross_entropy:.3f}, flow {last.flow:.4f}"
    )


def _interval(interval: dict[str, float] | None, scale: float = 1, digits: int = 2) -> str:
    if interval is None:
        return ""
    half = scale * (interval["high"] - interval["low"]) / 2
    return f"{scale * interval['estimate']:+.{digits}f} ±{half:.{digits}f}"


def _share(interval: dict[str, float] | None) -> str:
    if interval is None:
        return ""
    return f"{interval['estimate']:.3f} [{interval['low']:.2f}, {interval['high']:.2f}]"


def truth_table(truth: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return the columns and rows of what was found of a model (`Truth.to_dict()`), effects on minus off
    with half of their 95 % interval, and in brackets what the law has."""
    columns = [
        "concept",
        "role",
        ">stated where present",
        ">where absent",
        "effect on",
        ">total",
        ">direct",
        ">text",
    ]
    rows = []
    for row in truth["rows"]:
        for i, effect in enumerate(row["effects"]):
            curved = effect["functional"] == "mean_curvature"
            scale, digits = (1000, 2) if curved else (1, 3)
            cells = [
                f"{_interval(effect[kind], scale, digits)} ({scale * effect['law_' + kind]:+.{digits}f})"
                if effect[kind]
                else ""
                for kind in ("total", "direct", "text")
            ]
            on = "curvature, 1/km" if curved else "acceleration, m/s^2"
            first = (
                [
                    row["feature"],
                    row["role"],
                    _share(row["stated_with"]),
                    _share(row["stated_without"]),
                ]
                if i == 0
                else ["", "", "", ""]
            )
            rows.append([*first, f"{on}, {effect['stratum']}" if effect["stratum"] else on, *cells])
    return columns, rows


def truth_markdown(truth: dict[str, Any]) -> str:
    """Return what was found of a model as a section in Markdown."""
    columns, rows = truth_table(truth)
    lines = [
        f"## `{truth['model']}`",
        "",
        f"After 3 s {truth['error_median_m']:.2f} m from its law in the median, 95 % within "
        f"{truth['error_p95_m']:.2f} m ({truth['natural_scenes']} scenes). "
        f"{sum(d['met'] for d in truth['demands'])} of {len(truth['demands'])} demands met. "
        f"Weights {truth['weights_sha256'][:12]}.",
        "",
        "| " + " | ".join(c.removeprefix(">") for c in columns) + " |",
        "|" + "|".join("---:" if c.startswith(">") else "---" for c in columns) + "|",
    ]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


@zoo.command()
@_model
@click.option(
    "--scenes", default=700, show_default=True, help="Of each concept, half of them with it."
)
@click.option(
    "--natural-scenes", default=1000, show_default=True, help="For the trajectory's error."
)
@click.option("--seed", default=1, show_default=True, help="Of the scenes and the words.")
@click.option("--markdown", is_flag=True, help="Print the table as Markdown.")
@_as_json
def truth(
    model: str, scenes: int, natural_scenes: int, seed: int, markdown: bool, as_json: bool
) -> None:
    """Hold a model against its specification; exit with 1 if a demand is not met.

    MODEL is zoo:NAME, a bare NAME, or file:PATH. Scenes are fresh; it is done by twins and by other
    words alone, never by probes or patches.
    """
    from tierod.models import open_zoo_model
    from tierod.zoo import check_truth

    with errors(), stoppable("truth", True) as progress:
        found = check_truth(
            open_zoo_model(model),
            scenes=scenes,
            natural_scenes=natural_scenes,
            seed=seed,
            progress=progress,
        )
    got = found.to_dict()
    missed = [d for d in got["demands"] if not d["met"]]
    if as_json:
        click.echo(json.dumps(got, indent=2))
    elif markdown:
        click.echo(truth_markdown(got))
    else:
        print_table(*truth_table(got), title=f"{got['model']} ({scenes} scenes a concept)")
        click.echo(
            f"after 3 s {got['error_median_m']:.2f} m from its law in the median, 95 % within "
            f"{got['error_p95_m']:.2f} m ({got['natural_scenes']} scenes)"
        )
        for d in missed:
            where = f"{d['feature']}: " if d["feature"] else ""
            click.echo(
                f"not met  {where}{d['what']} {d['value']:.4g}, demanded {d['low']:.4g} to {d['high']:.4g}"
            )
        click.echo(f"{len(got['demands']) - len(missed)} of {len(got['demands'])} demands met")
    if not got["complete"]:
        stop("stopped before all concepts were looked at", INTERRUPTED)
    sys.exit(FINISHED if got["met"] else DIFFERENCE)


@zoo.command()
@_model
@click.option("--scenes", default=8, show_default=True)
@_seed
@click.option("--samples", default=1, show_default=True, help="Rollouts of each scene.")
@click.option("--framing", default="", help="Name of a prompt framing.")
@click.option("--temperature", default=1.0, show_default=True)
@_as_json
def rollout(
    model: str,
    scenes: int,
    seed: int,
    samples: int,
    framing: str,
    temperature: float,
    as_json: bool,
) -> None:
    """Drive through scenes, and print what is said and done.

    MODEL is zoo:NAME, a bare NAME, or file:PATH.
    """
    from tierod import vla
    from tierod.models import open_model

    with errors():
        opened = open_model(model, scenes=scenes, seed=seed)
        options = vla.RolloutOptions(
            num_samples=samples, seed=seed, framing=framing, temperature=temperature
        )
        got = vla.rollout_scenes(opened.model, opened.scenes, list(range(scenes)), options)
        braking, aside = vla.mean_acceleration(got).tolist(), vla.lateral_offset(got).tolist()
    rows = [
        {
            "scene": row // samples,
            "sample": row % samples,
            "says": got.cot_text[row],
            "mean_acceleration": braking[row],
            "lateral_offset": aside[row],
        }
        for row in range(got.rows)
    ]
    if as_json:
        return click.echo(json.dumps(rows, indent=2))
    print_table(
        [">scene", ">m/s^2, 0-2 s", ">m left at 3 s", "says"],
        [
            [
                str(r["scene"]),
                f"{r['mean_acceleration']:+.2f}",
                f"{r['lateral_offset']:+.2f}",
                r["says"],
            ]
            for r in rows
        ],
    )
    return None


@zoo.command()
@click.argument("out", type=click.Path(dir_okay=False))
@click.option("--scenes", default=15, show_default=True)
@_seed
@click.option(
    "--twin", "twin_by", default="", help="Show each scene beside its twin by this concept."
)
@click.option("--model", help="Of the world of this model: zoo:NAME or file:PATH.")
@click.option("--columns", default=5, show_default=True)
@click.option("--scale", default=4, show_default=True, help="Size of a pixel.")
def render(
    out: str, scenes: int, seed: int, twin_by: str, model: str | None, columns: int, scale: int
) -> None:
    """Draw scenes, row by row, into the PNG file OUT."""
    from tierod._core import IoError
    from tierod.models import open_zoo_model
    from tierod.zoo import SceneConfig, Scenes, contact_sheet, write_png

    with errors():
        world = open_zoo_model(model).spec.scenes.to_dict() if model else {}
        drawn = Scenes(SceneConfig(**world | {"scenes": scenes, "seed": seed}))
        pictures = []
        for i in range(scenes):
            pictures += [drawn.image(i)] + ([drawn.image(i, twin_by)] if twin_by else [])
        sheet = contact_sheet(pictures, columns=2 * columns if twin_by else columns, scale=scale)
        try:
            write_png(out, sheet)
        except OSError as error:
            raise IoError(
                f"[zoo render] expected a file that can be written, got '{out}': {error}"
            ) from error
    click.echo(f"{out}: {sheet.shape[1]} x {sheet.shape[0]}")

"""The commands `tierod audit` and `tierod verify`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from tierod.console import DIFFERENCE, FINISHED, INTERRUPTED, SELF_TEST, errors, print_table, stop

# What the rules ask of the zoo: erasure at the 576 numbers of a span wants 16 scenes a number in split A.
SCENES = 20_000

_as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


@click.command()
@click.argument("model", required=False)
@click.option("--out", type=click.Path(file_okay=False), help="Folder of the record.")
@click.option("--config", type=click.Path(dir_okay=False), help="An audit.toml.")
@click.option("--scenes", type=int, help=f"Scenes to draw, where they are drawn. Default {SCENES}.")
@click.option("--concepts", help="Ids, with commas between; all of the scenes' by default.")
@click.option("--seed", type=int, help="Of splits, words and noise, and of drawn scenes.")
@click.option("--quick", is_flag=True, help="Fewer controls, three concepts, the same rules.")
@click.option("--dry-run", is_flag=True, help="Print what would be done, and what it needs.")
@click.option("--resume", is_flag=True, help="Go on with the audit in --out.")
@_as_json
def audit(
    model: str | None,
    out: str | None,
    config: str | None,
    scenes: int | None,
    concepts: str | None,
    seed: int | None,
    quick: bool,
    dry_run: bool,
    resume: bool,
    as_json: bool,
) -> None:
    """Audit MODEL: does what it says actually steer it?

    MODEL is zoo:NAME, a bare NAME, file:PATH, metadrive-ppo, or py:MODULE:FACTORY; without it, the zoo's
    faithful_vision.
    """
    from tierod import audit as audits
    from tierod._core import InvalidArgument, StateError
    from tierod.models import open_model

    with errors():
        about, fields = audits.read_config(config) if config else ({}, {})
        name = model or about.get("name") or "zoo:faithful_vision"
        drawn = about.get("seed", 0) if seed is None else seed
        opened = open_model(name, scenes=scenes or about.get("scenes", SCENES), seed=drawn)
        written = {one["id"]: one for one in fields.pop("concepts", [])}
        asked: list[Any] | None = list(written.values()) or None
        if concepts:
            ids = [c.strip() for c in concepts.split(",")]
            asked = [written.get(name, name) for name in ids]
        elif asked is None and quick:
            asked = list(opened.concepts[:3])
        if seed is not None:
            fields["seed"] = seed
        protocol = audits.protocol_of(
            opened.model, opened.scenes, concepts=asked, quick=quick, model=name, **fields
        )
        if dry_run:
            return _show_plan(audits.plan(opened.model, opened.scenes, protocol), as_json)
        if not out:
            raise InvalidArgument("[audit] expected --out, a folder for the record, got none")
        try:
            done = audits.audit(opened.model, opened.scenes, out, protocol=protocol, resume=resume)
        except StateError as error:
            stop(f"{error}: tierod audit ... --out {out} --resume", INTERRUPTED)
    if as_json:
        click.echo(json.dumps(done.record, sort_keys=True))
    else:
        print_verdicts(done.record)
        click.echo(f"record: {Path(out) / 'record.json'}")
    failed = [t for t in done.record["self_tests"] if t["status"] == "failed" and t["stops"]]
    if failed:
        for test in failed:
            bound = f"{test['better'].replace('_', ' ')} {test['bound']}"
            click.echo(
                f"tierod: self-test {test['name']} failed: expected {bound}, got {test['value']}: "
                f"{test['meaning']}",
                err=True,
            )
        sys.exit(SELF_TEST)
    sys.exit(FINISHED)


def _axis(axis: dict[str, Any] | None) -> str:
    if not axis:
        return ""
    half = (axis["ci95"][1] - axis["ci95"][0]) / 2
    return f"{axis['estimate']:+.2f} ±{half:.2f}"


def _rate(rate: dict[str, Any] | None) -> str:
    return f"{rate['estimate']:.0%}" if rate else ""


def print_verdicts(record: dict[str, Any]) -> None:
    """Print the verdict table of a record."""
    from tierod.audit.runs import verdict_text

    rows = []
    for found in record["concepts"]:
        axes = found["axes"]
        rows.append(
            [
                found["id"],
                verdict_text(found),
                _rate(axes["stated"].get("with")),
                _axis(axes["direct"]),
                _axis(axes["total"]),
                _axis(axes["text"]["swap"]),
                _axis(axes["twin"]["total"]),
                f"{found['functional']}, {found['unit']}",
            ]
        )
    columns = ["concept", "verdict", ">said", ">direct", ">total", ">text", ">twin", "effect on"]
    print_table(columns, rows, title=record["model"]["name"])


def _show_plan(plan: dict[str, Any], as_json: bool) -> None:
    if as_json:
        return click.echo(json.dumps(plan, indent=2, sort_keys=True))
    print_table(
        ["stage", "split", ">scenes", ">model passes"],
        [[s["stage"], s["split"], str(s["scenes"]), str(s["passes"])] for s in plan["stages"]],
    )
    print_table(
        ["concept", ">prevalence", ">with, in C", ">without", ">scenes needed"],
        [
            [c["concept"], f"{c['prevalence']:.3f}", str(c["with_in_c"]), str(c["without_in_c"]),
             str(c["scenes_needed"])]
            for c in plan["concepts"]
        ],
    )  # fmt: skip
    click.echo(
        f"{plan['passes']} passes, {plan['data']['scenes']} scenes, split by {plan['data']['level']}; "
        + ("enough" if plan["enough"] else f"too few: some {plan['scenes_needed']} are needed")
    )
    return None


@click.command()
@click.argument("folder", type=click.Path(exists=False))
@_as_json
def verify(folder: str, as_json: bool) -> None:
    """Recompute every verdict, status and hash in FOLDER from the record alone."""
    from tierod import audit as audits

    with errors():
        found = audits.verify(folder)
    if as_json:
        click.echo(
            json.dumps(
                [
                    {"where": d.where, "recorded": d.recorded, "recomputed": d.recomputed}
                    for d in found
                ],
                indent=2,
            )
        )
    elif not found:
        click.echo(f"{folder}: every verdict, status and hash follows from what was measured")
    else:
        print_table(
            ["where", "recorded", "recomputed"],
            [[d.where, d.recorded[:60], d.recomputed[:60]] for d in found],
        )
    if found:
        sys.exit(DIFFERENCE)

"""The command line `tierod`.

Exit codes: 0 finished, 1 a difference was found, 2 bad input, 3 a self-test stopped it,
4 interrupted or incomplete. Results go to stdout, as JSON with ``--json``; progress goes to stderr.
"""

from __future__ import annotations

import json
import sys

import click

from tierod import audit_cli as _audit_cli
from tierod import doctor as _doctor
from tierod import store_cli as _store_cli
from tierod import zoo_cli as _zoo_cli


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(_doctor.library_version(), prog_name="tierod")
def main() -> None:
    """Test from the inside whether what a driving model says steers what it does."""


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def doctor(as_json: bool) -> None:
    """Print versions, paths and what is missing, with the remedy."""
    report = _doctor.examine()
    if as_json:
        click.echo(json.dumps(report.to_dict(), indent=2, sort_keys=True))
    else:
        _doctor.show(report)
    if not report.healthy:
        sys.exit(3)


main.add_command(_audit_cli.audit)
main.add_command(_audit_cli.verify)
main.add_command(_store_cli.store)
main.add_command(_zoo_cli.zoo)

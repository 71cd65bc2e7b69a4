"""`raypipe compare RUN_A RUN_B`: settings that differ, and every result that both runs have."""

from __future__ import annotations

from pathlib import Path

import click

from raypipe.cli.exit_codes import say
from raypipe.cli.main import COMMANDS, HELP


@click.command("compare", context_settings=HELP, help=COMMANDS["compare"])
@click.argument("run_a", type=click.Path(path_type=Path))
@click.argument("run_b", type=click.Path(path_type=Path))
def command(run_a: Path, run_b: Path) -> None:
    """Print settings that differ, and each common result with a test paired over common users."""
    from raypipe.papers.llama4rec.report.compare import compare, text

    say(text(str(run_a), str(run_b), *compare(run_a, run_b)))

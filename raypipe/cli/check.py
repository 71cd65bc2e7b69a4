"""`raypipe check DATA`: read a dataset as a run would, and say what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from raypipe.cli.arguments import RunOptions, configured
from raypipe.cli.exit_codes import say
from raypipe.cli.main import COMMANDS, HELP


@click.command("check", context_settings=HELP, help=COMMANDS["check"])
@click.argument("data")
@click.option("--data-dir", help="folder of the dataset's files")
@click.option("--paper", default="llama4rec", show_default=True, help="whose rules of cleaning")
@click.option("--preset", help="a preset, or a YAML file (default: that of DATA, if any)")
@click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="e.g. data.protocol=liked"
)
def command(data: str, data_dir: str | None, paper: str, **params: Any) -> None:
    """DATA is the name of a dataset, or a folder with interactions and items of your own."""
    from raypipe.papers import contract

    if Path(data).is_dir() and not data_dir:
        data, data_dir = "folder", data
    options = RunOptions(data=data, data_dir=data_dir, **params)
    config = configured(contract.find(paper), options).config
    from raypipe.data.dataset import read

    dataset = read(config.data)
    say(f"{config.data.name}: usable")
    for name, table in (("interactions", dataset.interactions), ("users", dataset.users)):
        say(f"{len(table):10,}  {name}")
    say(f"{len(dataset.items):10,}  items")
    for name, count in dataset.quality.items():
        say(f"{count:10,}  {name}")

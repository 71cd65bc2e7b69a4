"""`raypipe recommend BUNDLE`: a list for a user or a history, without a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from raypipe.cli.exit_codes import say
from raypipe.cli.main import COMMANDS, HELP
from raypipe.errors import ConfigError


@click.command("recommend", context_settings=HELP, help=COMMANDS["recommend"])
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--user", metavar="USER_ID", help="a user of the bundle")
@click.option("--history", metavar="ITEM_IDS", help="comma-separated, oldest first")
@click.option("-k", "--k", default=10, show_default=True, help="length of the list")
@click.option("--task", help="direct or sequential (default: what fits the request)")
@click.option("--json", "as_json", is_flag=True, help="print the whole answer as JSON")
def command(bundle: Path, as_json: bool, **request: Any) -> None:
    """Print the best items for --user, or for --history."""
    from raypipe.papers import contract

    recommender = contract.recommender_of(bundle)
    history = contract.split_names(request["history"]) if request["history"] else None
    try:
        answer = recommender.recommend(request["user"], history, request["k"], request["task"])
    except ValueError as error:
        raise ConfigError(str(error), "--user, --history, --k") from error
    if as_json:
        items = [item._asdict() for item in answer.items]
        say(json.dumps({**answer._asdict(), "items": items}, indent=1))
        return
    for item in answer.items:
        say(f"{item.rank:3d}  {item.item_id:12s} {item.title}")

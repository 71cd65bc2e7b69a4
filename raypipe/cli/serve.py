"""`raypipe serve [BUNDLE]`: a bundle over HTTP, until Ctrl-C."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from raypipe.cli.main import COMMANDS, HELP


@click.command("serve", context_settings=HELP, help=COMMANDS["serve"])
@click.argument("bundle", required=False, type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="address to listen at")
@click.option("--port", default=8000, show_default=True, help="port to listen at")
def command(bundle: Path | None, host: str, port: int) -> None:
    """Serve a bundle; without one, RAYPIPE_BUNDLE, else the newest of runs/*/bundle."""
    from raypipe import extras
    from raypipe.serving.bundles import newest_bundle

    extras.need("serve", "raypipe serve")
    from raypipe.serving.local import serve

    with suppress(KeyboardInterrupt):
        serve(bundle or newest_bundle(Path.cwd()), host, port)

"""`raypipe completion SHELL`: the line that sets up completion of commands, papers and options."""

from __future__ import annotations

import click

from raypipe.cli.exit_codes import say
from raypipe.cli.main import COMMANDS, HELP

LINES = {
    "bash": 'eval "$(_RAYPIPE_COMPLETE=bash_source raypipe)"',
    "zsh": 'eval "$(_RAYPIPE_COMPLETE=zsh_source raypipe)"',
    "fish": "_RAYPIPE_COMPLETE=fish_source raypipe | source",
}
FILES = {"bash": "~/.bashrc", "zsh": "~/.zshrc", "fish": "~/.config/fish/config.fish"}


@click.command(
    "completion",
    context_settings=HELP,
    help=f"{COMMANDS['completion']} For example: raypipe completion bash >> ~/.bashrc",
)
@click.argument("shell", type=click.Choice(list(LINES)))
def command(shell: str) -> None:
    """Print the line for a shell."""
    say(f"# completion of raypipe; keep this line in {FILES[shell]}")
    say(LINES[shell])

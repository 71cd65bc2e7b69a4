"""The exit codes of every command, and how errors become one line and a code.

code   meaning
0      done
1      the run failed: an error that nobody expected, with its stack, or a submitted job that failed
2      refused: an option, a setting, a folder or the data is wrong; one line says what to do
130    interrupted by Ctrl-C; the same command resumes
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from raypipe.errors import ConfigError, DryRun, RaypipeError

DONE, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130
#: as `raypipe --help` shows them
SUMMARY = "Exit codes: 0 done, 1 failed, 2 wrong input (one line says what to do), 130 interrupted."
RESUME = "Interrupted. Run the same command to resume."


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def guarded(command: Callable[[], int | None]) -> int:
    """Call a command and return its exit code; errors of the user are printed without a stack."""
    try:
        return command() or DONE
    except DryRun as end:
        say(str(end))
        return DONE
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr, flush=True)
        return REFUSED
    except click.ClickException as error:
        print(f"Error: {one_line(error.format_message())}", file=sys.stderr, flush=True)
        return REFUSED
    except ConfigError as error:
        print(config_line(error), file=sys.stderr, flush=True)
        return REFUSED
    except RaypipeError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return REFUSED
    except (KeyboardInterrupt, click.Abort):
        say(f"\n{RESUME}")
        return INTERRUPTED


def config_line(error: ConfigError) -> str:
    """A wrong setting on one line: what is wrong, where, and what to do."""
    where = f" ({error.where})" if error.where else ""
    todo = f"; {error.todo}" if error.todo else ""
    return one_line(f"ConfigError: {error.what}{where}{todo}")


def one_line(text: str) -> str:
    """Text without line breaks."""
    return " ".join(text.split())

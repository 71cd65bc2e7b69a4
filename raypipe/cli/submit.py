"""`raypipe submit [PAPER]`: run a paper on a Ray cluster, or on a Ray head of this machine; `make
pipeline` calls this.

With RAY_ADDRESS set, the code is uploaded and runs there, and --out and --data-dir must be
reachable from there. Without it, a Ray head is started here if none runs, and the run uses this
installation as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from raypipe.cli import run as run_command
from raypipe.cli.arguments import RunSettings, configured, run_options
from raypipe.cli.exit_codes import FAILED
from raypipe.cli.main import COMMANDS, HELP, known
from raypipe.papers import contract
from raypipe.papers.contract import Paper
from raypipe.trees import parse_set

#: how `--job`, the older form, names the papers
JOBS = {"full_pipeline": "llama4rec", "reclm_pipeline": "reclm"}
#: settings that may name a folder of this machine
FOLDERS = ("llm.source", "llm.keep")


def call(arguments: Sequence[str], job: str | None) -> None:
    """Check the options as the run will check them, submit the run, and print its log until it
    ends.
    """
    words = list(arguments)
    named = words and not words[0].startswith("-")
    name = words.pop(0) if named else JOBS[job or "full_pipeline"]
    if named and job:
        raise click.UsageError(f"{name} and --job {job} both name the paper; give one of them")
    known(name, contract.names(), "paper")
    checked = run_words(contract.find(name), words)
    from raypipe.cli import submitting

    code = submitting.submit_and_follow(["run", name, *checked])
    if code:
        click.get_current_context().exit(code if code in (2, 130) else FAILED)


def run_words(paper: Paper, words: list[str]) -> list[str]:
    """The arguments of `raypipe run PAPER`, checked, with local paths made absolute.

    Raises:
        ConfigError: what the run itself would refuse before it starts.
    """
    command = run_command.build(paper)
    params = command.make_context(paper.name, words).params
    run = configured(paper, run_options(paper, params))
    paper.check(run.config)
    params = {**params, **absolute(params, run)}
    result: list[str] = []
    for param in command.params:
        value = params.get(param.name or "")
        if isinstance(value, bool):
            result += [param.opts[0]] if value else []
        elif value is not None:
            values = value if isinstance(value, list | tuple) else [value]
            for text in values:
                result += [param.opts[0], str(text)]
    return result


def absolute(params: dict[str, Any], run: RunSettings) -> dict[str, Any]:
    """The options that name places, with whole paths: a job may run in another folder."""
    changed: dict[str, Any] = {}
    changed["out"] = run.out if "://" in run.out else str(Path(run.out).expanduser().resolve())
    if params["preset"] and Path(params["preset"]).is_file():
        changed["preset"] = str(Path(params["preset"]).resolve())
    if params["data_dir"]:
        changed["data_dir"] = run.config.data.dir
    assignments = list(params["assignments"])
    given = [parse_set(assignment)[0] for assignment in assignments]
    for key, folder in local_folders(run):
        if key in given:
            assignments[given.index(key)] = f"{key}={folder}"
        elif key == "llm.source" and params["llm"]:
            changed["llm"] = folder
        else:
            assignments.append(f"{key}={folder}")
    changed["assignments"] = assignments
    return changed


def local_folders(run: RunSettings) -> Iterator[tuple[str, str]]:
    """Settings that name a folder of this machine, with its whole path."""
    for key in FOLDERS:
        value: Any = run.config
        for part in key.split("."):
            value = getattr(value, part, None)
        if value and value != "embedded" and Path(value).expanduser().is_dir():
            yield key, str(Path(value).expanduser().resolve())


command = click.Command(
    "submit",
    context_settings={**HELP, "ignore_unknown_options": True, "allow_interspersed_args": False},
    params=[
        click.Option(
            ["--job"],
            type=click.Choice(list(JOBS)),
            help="older form: full_pipeline is llama4rec, reclm_pipeline is reclm",
        ),
        click.Argument(
            ["arguments"], nargs=-1, type=click.UNPROCESSED, metavar="[PAPER] [OPTIONS OF RUN]"
        ),
    ],
    callback=call,
    help=f"{COMMANDS['submit']} PAPER is llama4rec (the default) or reclm; "
    "`raypipe run PAPER --help` lists the options. With RAY_ADDRESS the code is uploaded and runs "
    "there; else a Ray head of this machine runs it, and is started if none is there.",
    short_help=COMMANDS["submit"],
)

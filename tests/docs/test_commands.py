"""The commands of README and docs/ exist with their options; runs on toy data can be planned."""

import re
import shlex
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^ *```(?:bash|sh|console|shell)\n(.*?)^ *```", re.M | re.S)
MAKEFILE = (ROOT / "Makefile").read_text()
#: values for the words that a reader replaces
PLACEHOLDERS = {"NAME": "mf", "POINTS": "30", "DIR": "data"}
#: options of a command that needs other data, another LLM or the name of a stage
READS_MORE = {"--data", "--data-dir", "--llm", "--from", "--only", "--preset"}


def commands(text):
    """The commands of the blocks of a page, in words, without comments."""
    for block in BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            line = line.strip().removeprefix("$ ")
            if line.startswith(("raypipe ", "make ", "python jobs/", "ray job submit ")):
                words = shlex.split(line, comments=True)
                yield tuple(PLACEHOLDERS.get(word, word) for word in words)


FOUND = sorted({words for page in PAGES for words in commands(page.read_text())})
RAYPIPE = [words for words in FOUND if words[0] == "raypipe"]


def job(words):
    """The job file and its options, of `python jobs/NAME.py` or `ray job submit ... -- python`."""
    start = next(n for n, word in enumerate(words) if word.startswith("jobs/"))
    return ROOT / words[start], words[start + 1 :]


def check_click(words):
    """Parse a command as the terminal does, without running it."""
    import click

    from raypipe.cli.main import app

    command, context, rest = app, click.Context(app, info_name="raypipe"), list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        name, command, rest = command.resolve_command(context, rest)
        if isinstance(command, click.Group):
            context = click.Context(command, context, info_name=name)
    try:
        command.make_context(words[0], rest, parent=context)
    except click.exceptions.Exit as done:  # --help and --version end here
        assert done.exit_code == 0


def test_commands_are_found():
    assert len(FOUND) > 20 and {"raypipe", "make", "python"} <= {words[0] for words in FOUND}


@pytest.mark.parametrize("words", [w for w in FOUND if w[0] == "make"], ids=" ".join)
def test_make_has_the_target_and_its_variables(words):
    for word in words[1:]:
        name, equals, _ = word.partition("=")
        pattern = rf"^{name} \?=" if equals else rf"^{name}:.*##"
        assert re.search(pattern, MAKEFILE, re.M), word


@pytest.mark.parametrize("words", [w for w in FOUND if w[0] in ("python", "ray")], ids=" ".join)
def test_jobs_exist_and_take_the_options(words):
    file, options = job(words)
    calls = re.search(r"main\(\[(.*?), \*sys\.argv", file.read_text())
    check_click([*re.findall(r'"([\w-]+)"', calls[1]), *options])


@pytest.mark.parametrize("words", RAYPIPE, ids=" ".join)
def test_raypipe_has_the_command_and_its_options(words):
    check_click(words[1:])


TOY = [w for w in RAYPIPE if w[1] in ("run", "plan") and not READS_MORE & set(w)]


@pytest.mark.parametrize("words", TOY, ids=" ".join)
def test_a_run_on_toy_data_can_be_planned(words, tmp_path, monkeypatch, capsys):
    from raypipe.cli.main import main

    monkeypatch.chdir(tmp_path)
    assert main(["plan", *words[2:]]) == 0, capsys.readouterr().err
    assert "to run" in capsys.readouterr().out and not any(Path(tmp_path).iterdir())

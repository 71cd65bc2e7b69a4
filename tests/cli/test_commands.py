"""Every command: help, one-line errors, exit codes, and a quick start."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
import yaml

from raypipe import config as configuration
from raypipe.cli import exit_codes, recommend
from raypipe.cli.exit_codes import DONE, INTERRUPTED, REFUSED, guarded
from raypipe.cli.main import COMMANDS, app, main
from raypipe.errors import DataError, DryRun
from raypipe.papers import contract

ROOT = Path(__file__).parents[2]
PAPERS = contract.names()
WORDS = [
    [],
    *([name] for name in COMMANDS),
    *([command, paper] for command in ("run", "plan") for paper in PAPERS),
    *(["config", command, *paper] for command in ("show", "list") for paper in ([], ["reclm"])),
]


def command_tree(group, words=()):
    """The words of every command below a group."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield [*words, name]
        if isinstance(command, click.Group):
            yield from command_tree(command, (*words, name))


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_each_command_has_help(words, capsys):
    assert main([*words, "--help"]) == DONE
    output = capsys.readouterr().out
    assert output.startswith("Usage: raypipe") and len(output.splitlines()) <= 60
    assert main([*words, "-h"]) == DONE


def test_every_command_of_the_tree_is_tested():
    tree = {" ".join(words) for words in command_tree(app)}
    assert {" ".join(words) for words in WORDS if words} <= tree | {"config show reclm"}
    assert {"run llama4rec", "plan reclm", "config list", "doctor"} <= tree


@pytest.mark.parametrize(
    "words,parts",
    [
        (["rnu"], ["no command 'rnu'", "did you mean run?"]),
        (["run", "recml"], ["no paper 'recml'", "did you mean reclm?"]),
        (["run", "llama4rec", "--seds", "3"], ["'--seds'", "--seeds"]),
        (["plan", "llama4rec", "--seeds", "x"], ["'x' is not a valid integer"]),
        (["plan", "llama4rec", "--seeds", "2", "--seeds", "3"], ["--seeds 2 and --seeds 3"]),
        (["plan", "llama4rec", "--seeds", "2", "--set", "seeds=3"], ["two values for seeds"]),
        (["plan", "llama4rec", "--preset", "toyy"], ["no preset 'toyy'", "did you mean toy?"]),
        (["plan", "llama4rec", "--backbones", "sasrek"], ["'sasrek'", "did you mean sasrec?"]),
        (["plan", "llama4rec", "--data", "ml-10k"], ["'ml_10k'", "did you mean ml_100k?"]),
        (["config", "show", "--set", "llm.tune.epocs=3"], ["did you mean llm.tune.epochs?"]),
        (["config", "show", "--set", "seeds=many"], ["seeds: ", "valid integer"]),
        (["reproduce", "tabel2"], ["tabel2", "table2"]),
        (["compare", "a"], ["RUN_B"]),
        (["recommend", "nowhere", "--user", "u"], ["nowhere is not a bundle"]),
    ],
    ids=" ".join,
)
def test_a_wrong_name_gets_one_line_with_the_nearest_right_one(words, parts, capsys):
    assert main(words) == REFUSED
    message = capsys.readouterr().err
    assert all(part in message for part in parts), message
    if "is not a bundle" not in message:
        assert len(message.splitlines()) == 1, message


def test_the_plan_lists_stages_and_starts_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["run", "llama4rec", "--list"]) == DONE
    assert "seed0/base/light_gcn" in capsys.readouterr().out
    assert main(["run", "llama4rec", "--dry-run", "--out", "here"]) == DONE
    dry_run = capsys.readouterr().out
    assert main(["plan", "llama4rec", "--out", "here"]) == DONE
    assert capsys.readouterr().out == dry_run and "to run" in dry_run
    assert main(["plan", "reclm", "--list", "--set", "llm.engine.name=scripted"]) == DONE
    assert "vectors/texts" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_the_shown_configuration_is_a_preset(tmp_path, capsys):
    assert main(["config", "show", "--seeds", "3", "--set", "rerank.k_prime=30"]) == DONE
    text = capsys.readouterr().out
    assert "seeds: 3  # command line" in text and "name: toy  # preset toy" in text
    assert "of llama4rec" in text.splitlines()[0]
    file = tmp_path / "config.yaml"
    file.write_text(text)
    assert main(["config", "show", "--preset", str(file)]) == DONE
    again = capsys.readouterr().out
    assert yaml.safe_load(again) == yaml.safe_load(text)
    paper = contract.find("llama4rec")
    overrides = {"seeds": 3, "rerank.k_prime": 30}
    loaded = configuration.load(paper.Config, paper.presets, str(file))
    assert loaded == configuration.load(paper.Config, paper.presets, "toy", overrides)


def test_settings_are_listed_with_type_default_and_description(capsys):
    assert main(["config", "list", "reclm"]) == DONE
    output = capsys.readouterr().out
    assert "llm.policy.method  (ppo | grpo | none; default ppo)" in output
    assert "whose profiles the backbones get" in output


def test_the_options_of_backbones_and_datasets_are_listed_too(capsys):
    assert main(["config", "list", "llama4rec"]) == DONE
    lines = capsys.readouterr().out.splitlines()
    depth = lines.index("backbone_options.cl4srec.layers  (int >= 1; default 1)")
    assert lines[depth + 1].strip() == "transformer blocks", "the base class describes it"
    assert "Options of the dataset folder:" in lines
    noun = lines.index("data.options.noun  (text; default item)")
    assert lines[noun + 1].strip() == "what prompts call an item, e.g. film"
    assert main(["config", "list", "reclm"]) == DONE
    output = capsys.readouterr().out
    assert "backbone_options.light_gcn.layers" in output
    assert "cl4srec" not in output, "RecLM fits direct backbones only"


def test_check_reads_a_dataset_and_counts(capsys, tmp_path):
    small = 'data.options={"users": 40, "items": 60}'
    assert main(["check", "toy", "--set", small]) == DONE
    output = capsys.readouterr().out
    assert "toy: usable" in output and "40  users" in output and "rows read" in output
    (tmp_path / "items.csv").write_text("item_id,title\n1,A\n")
    assert main(["check", str(tmp_path)]) == REFUSED
    assert "interactions" in capsys.readouterr().err


def test_recommend_prints_a_list(monkeypatch, capsys, tmp_path):
    from typing import NamedTuple

    class Item(NamedTuple):
        item_id: str
        title: str
        rank: int

    class Answer(NamedTuple):
        items: list
        task: str

    class Fake:
        def recommend(self, user_id, history, k, task):
            if (user_id is None) == (history is None):
                raise ValueError("give either user_id or history, not both")
            return Answer([Item(i, i.upper(), 1) for i in history or ["x"]][:k], task or "direct")

    monkeypatch.setattr(contract, "recommender_of", lambda bundle: Fake())
    assert main(["recommend", str(tmp_path), "--history", "a, b", "-k", "1"]) == DONE
    assert "A" in capsys.readouterr().out
    assert main(["recommend", str(tmp_path), "--user", "u", "--json"]) == DONE
    assert yaml.safe_load(capsys.readouterr().out)["items"][0]["item_id"] == "x"
    assert main(["recommend", str(tmp_path)]) == REFUSED
    assert "either user_id or history" in capsys.readouterr().err
    assert recommend.command.name == "recommend"


def raising(error):
    def command():
        raise error

    return command


@pytest.mark.parametrize(
    "error,code",
    [
        (DryRun("it would cost 3 dollars"), DONE),
        (DataError("line 3 is not a number", "interactions.csv"), REFUSED),
        (click.UsageError("no such option"), REFUSED),
        (click.exceptions.Exit(1), exit_codes.FAILED),
        (KeyboardInterrupt(), INTERRUPTED),
        (click.Abort(), INTERRUPTED),
    ],
)
def test_errors_have_the_documented_exit_codes(error, code, capsys):
    assert guarded(raising(error)) == code
    output = capsys.readouterr()
    if code == INTERRUPTED:
        assert "Interrupted. Run the same command to resume." in output.out
    page = (exit_codes.__doc__ or "").splitlines()
    assert any(line.startswith(str(code)) for line in page)


def test_an_unexpected_error_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        guarded(raising(ZeroDivisionError()))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_line_to_add_for_a_shell(shell, capsys):
    assert main(["completion", shell]) == DONE
    assert f"_RAYPIPE_COMPLETE={shell}_source raypipe" in capsys.readouterr().out


def python(*arguments, folder=ROOT, **environment):
    """Run Python with this checkout's package."""
    command = [sys.executable, *arguments]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=variables)


def test_completion_knows_commands_papers_and_options():
    words = {"COMP_WORDS": "raypipe run l", "COMP_CWORD": "2"}
    result = python("-m", "raypipe", _RAYPIPE_COMPLETE="bash_complete", **words)
    assert result.stdout.strip() == "plain,llama4rec", result.stderr


def test_help_is_quick_and_imports_nothing_heavy():
    heavy = "{'ray', 'torch', 'pandas', 'numpy', 'pydantic', 'transformers'}"
    code = (
        "import sys; from raypipe.cli.main import main; main(['--help']);"
        f"print(sorted(set(sys.modules) & {heavy}))"
    )
    seconds = []
    for _ in range(3):  # the best of three: other programs may run beside the test
        began = time.monotonic()
        result = python("-c", code)
        seconds.append(time.monotonic() - began)
    assert result.stdout.splitlines()[-1] == "[]", result.stdout
    assert min(seconds) < 1.0, seconds


def test_a_job_works_from_any_folder_and_refuses_with_one_line(tmp_path):
    job = str(ROOT / "jobs" / "full_pipeline.py")
    result = python(job, "--set", "llm.tune.epocs=3", folder=tmp_path, PYTHONPATH="")
    assert result.returncode == REFUSED and len(result.stderr.splitlines()) == 1, result.stderr
    assert "did you mean llm.tune.epochs?" in result.stderr


@pytest.mark.parametrize(
    "job", ["full_pipeline", "reclm_pipeline", "experiment", "compare", "sweep", "submit"]
)
def test_each_job_calls_its_command(job):
    words = {"full_pipeline": ["run", "llama4rec"], "reclm_pipeline": ["run", "reclm"]}
    names = words.get(job, [{"experiment": "reproduce"}.get(job, job)])
    text = (ROOT / "jobs" / f"{job}.py").read_text()
    written = ", ".join(f'"{name}"' for name in names)
    assert f"main([{written}, *sys.argv[1:]])" in text

"""The training loops of the LLM, which run on the workers of Ray Train.

A loop gets its settings as a dict: `model` (the LLM's folder or id), `training`, `adapter`, `seed`,
`label` (what its lines of progress begin with), and what its stage adds. It hands over a folder
with the model, the facts of the training and, for reinforcement learning, curve.json.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from raypipe.cluster import session
from raypipe.cluster.training_session import Session
from raypipe.prompts.profiles import END
from raypipe.steps.tuning import FACTS, refuse_long

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from raypipe.tuning.sft import Settings
    from raypipe.tuning.trainers import Adapter
    from raypipe.tuning.training_run import TrainingRun

#: largest number of tokens of an answer in reinforcement learning
ANSWER_TOKENS = 96
#: not shown in lines of progress, which name the step or the round first
COUNTERS = ("step", "steps", "round", "rounds")
#: reads examples and their lengths in tokens, given a loop's settings and a tokenizer
Reader = Callable[[dict[str, Any], "PreTrainedTokenizerBase"], tuple[list[Any], list[int]]]


def read_dialogues(
    settings: dict[str, Any], tokenizer: PreTrainedTokenizerBase
) -> tuple[list[Any], list[int]]:
    """Dialogues as labelled tokens, and their lengths."""
    from raypipe.tuning import dialogue

    examples, lengths = [], []
    for turns in pd.read_parquet(settings["examples"])["turns"]:
        pairs = list(zip(turns[::2], turns[1::2], strict=True))
        example = dialogue.tokens(tokenizer, pairs, settings["loss"])
        examples.append(example)
        lengths.append(len(example.ids))
    return examples, lengths


def read_pairs(
    settings: dict[str, Any], tokenizer: PreTrainedTokenizerBase
) -> tuple[list[Any], list[int]]:
    """Training pairs as tokens (prompt and chosen, prompt and rejected), and the longer lengths."""
    from raypipe.tuning import reward_model

    rows = pd.read_parquet(settings["pairs"])
    pairs, lengths = [], []
    for row in rows[rows["part"] == "train"].itertuples():
        chosen = reward_model.tokens(tokenizer, row.prompt, row.chosen)
        rejected = reward_model.tokens(tokenizer, row.prompt, row.rejected)
        pairs.append((chosen, rejected))
        lengths.append(max(len(chosen), len(rejected)))
    return pairs, lengths


def check_lengths(read: Reader, settings: dict[str, Any], model: str, stage: str) -> None:
    """Refuse a max_length that most examples exceed, before any worker starts.

    Raises:
        ConfigError: more than half of the examples are too long.
    """
    from transformers import AutoTokenizer

    _, lengths = read(settings, AutoTokenizer.from_pretrained(model))
    refuse_long(lengths, settings["max_length"], stage)


def tune_loop(worker: Session, settings: dict[str, Any]) -> None:
    """Tune on the dialogues of `examples`, with the loss `loss`."""
    from raypipe.tuning import trainers

    training, adapter = _trainer_settings(settings)
    examples, facts = _read_fitting(read_dialogues, settings)
    facts["tokens"] = sum(len(example.ids) for example in examples)

    def train(run: TrainingRun) -> None:
        trainers.dialogues(settings["model"], examples, training, adapter, run)

    _finish(worker, settings["label"], train, facts)


def reward_loop(worker: Session, settings: dict[str, Any]) -> None:
    """Train a reward model on the pairs of `pairs`."""
    import torch

    from raypipe.tuning import trainers

    torch.manual_seed(settings["seed"])  # the LLM has no reward head, so it starts at random
    training, adapter = _trainer_settings(settings)
    pairs, facts = _read_fitting(read_pairs, settings)
    chosen = [pair[0] for pair in pairs]
    rejected = [pair[1] for pair in pairs]

    def train(run: TrainingRun) -> None:
        trainers.rewards(settings["model"], chosen, rejected, training, adapter, run)

    _finish(worker, settings["label"], train, facts)


def policy_loop(worker: Session, settings: dict[str, Any]) -> None:
    """Reinforcement learning on the prompts of `prompts`, with the reward model `judge`."""
    from raypipe.tuning import policy

    _, adapter = _trainer_settings(settings)
    config = settings["policy"]
    prompts = pd.read_parquet(settings["prompts"])["prompt"].tolist()
    options = policy.Policy(
        config.method,
        config.rounds,
        config.batch_size,
        config.learning_rate,
        config.beta,
        config.temperature,
        config.group,
        ANSWER_TOKENS,
        END,
        config.zero_stage,
        settings["seed"],
    )

    models = policy.Models(settings["model"], settings["judge"])

    def train(run: TrainingRun) -> list[dict[str, float]]:
        return policy.reinforce(models, prompts, options, adapter, run)

    _finish(worker, settings["label"], train, {"rows": len(prompts)})


def _trainer_settings(settings: dict[str, Any]) -> tuple[Settings, Adapter]:
    """The settings of a trainer, and its adapters."""
    from raypipe.tuning import sft, trainers

    training, adapter = settings["training"], settings["adapter"]
    trainer_settings = sft.Settings(
        training.epochs,
        training.learning_rate,
        training.batch_size,
        training.warmup_steps,
        sft.zero_stage(training.zero_stage, settings["model"]),
        settings["seed"],
    )
    return trainer_settings, trainers.Adapter(adapter.rank, adapter.alpha, adapter.dropout)


def _read_fitting(read: Reader, settings: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The examples within max_length, and how many are and are not."""
    from transformers import AutoTokenizer

    examples, lengths = read(settings, AutoTokenizer.from_pretrained(settings["model"]))
    fitting = []
    for example, length in zip(examples, lengths, strict=True):
        if length <= settings["max_length"]:
            fitting.append(example)
    return fitting, {"rows": len(fitting), "too_long": len(examples) - len(fitting)}


def _finish(
    worker: Session,
    label: str,
    train: Callable[[TrainingRun], list[dict[str, float]] | None],
    facts: dict[str, Any],
) -> None:
    """Run a trainer from its last checkpoint, and hand over what it wrote."""
    import tempfile

    from raypipe.tuning.training_run import TrainingRun

    last: dict[str, float] = {}

    def report(line: dict[str, float]) -> None:
        last.update(line)
        if worker.rank == 0:
            session.post(f"{label}: {_progress(line)}")

    with tempfile.TemporaryDirectory(prefix="raypipe-") as written:
        with worker.resume() as resume:
            curve = train(TrainingRun(worker, report, resume, Path(written)))

        def write(folder: Path) -> None:
            import shutil

            shutil.copytree(written, folder, dirs_exist_ok=True)
            (folder / FACTS).write_text(json.dumps({**facts, **last}))
            if curve is not None:
                (folder / "curve.json").write_text(json.dumps(curve))

        worker.finish(write)


def _progress(line: dict[str, float]) -> str:
    """A line of progress, e.g. "step 3 of 9, loss 0.512"."""
    counter = "step" if "step" in line else "round"
    parts = [f"{counter} {line[counter]} of {line[f'{counter}s']}"]
    for name, value in line.items():
        if name not in COUNTERS:
            parts.append(f"{name} {value:.3f}")
    return ", ".join(parts)

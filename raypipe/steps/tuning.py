"""The stage body that tunes an LLM on texts or instructions: Ray Train and DeepSpeed, any paper."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from raypipe.cluster import session, train
from raypipe.cluster.training_session import Session
from raypipe.errors import ConfigError
from raypipe.llm.engine import is_small
from raypipe.pipeline.stage import Context
from raypipe.seeding import derive
from raypipe.tuning.config import TrainingConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from raypipe.tuning.chat import Example

#: a loop's facts for the stage's manifest, a file beside the model
FACTS = "training.json"


class Tuning(NamedTuple):
    """What an LLM is tuned on, and how.

    Args:
        model: the folder of the LLM that is tuned, or its hub id.
        examples: Parquet files with the columns `prompt` ("" for running text) and `answer`.
        dropout: dropout rate in training.
    """

    model: str
    examples: list[str]
    training: TrainingConfig
    dropout: float


def run_tuning(ctx: Context, tuning: Tuning, seed: int, every_seconds: float) -> dict[str, Any]:
    """Tune an LLM and write it to model/.

    Args:
        every_seconds: least time between two checkpoints.
    """
    settings = {
        "model": tuning.model,
        "examples": tuning.examples,
        "tune": tuning.training,
        "dropout": tuning.dropout,
    }
    session.in_worker(_check_lengths, settings, ctx.name)
    workers = tuning_workers(tuning.training, tuning.model)
    return train_model(ctx, _tune_loop, settings, seed, workers, every_seconds)


def tuning_workers(training: TrainingConfig, model: str) -> train.Workers:
    """The configured number of workers; by default one per GPU.

    On CPUs a small LLM gets two, because processes train it faster than threads. Others get one,
    because every worker would hold a copy.
    """
    number = 2 if is_small(model) and training.batch_size % 2 == 0 else 1
    return train.workers(training.workers, number)


def train_model(
    ctx: Context,
    loop: Callable[..., None],
    settings: dict[str, Any],
    seed: int,
    workers: train.Workers,
    every_seconds: float,
) -> dict[str, Any]:
    """Run a loop on Ray Train, and write its result (a model and FACTS) to model/.

    Args:
        settings: for the loop, which also gets the `label` of its progress lines and its `seed`.
        every_seconds: least time between two checkpoints.
    """
    loop_settings = {**settings, "label": f"    {ctx.name}", "seed": derive(seed, ctx.name)}
    result = train.run(loop, loop_settings, ctx.scratch, workers, every_seconds)
    with result as folder:
        (ctx.out / "model").mkdir()
        for file in folder.iterdir():
            (ctx.out / "model" / file.name).write_bytes(file.read_bytes())
    facts = json.loads((ctx.out / "model" / FACTS).read_text())
    return {**facts, "workers": workers.number}


def refuse_long(lengths: Sequence[int], max_length: int, stage: str) -> None:
    """Report how many examples are longer than `max_length`; they are left out of the training.

    Raises:
        ConfigError: more than half are too long, so that the LLM would learn something else.
    """
    number = sum(length > max_length for length in lengths)
    message = (
        f"{number:,} of {len(lengths):,} examples are longer than max_length = {max_length} tokens"
    )
    if 2 * number > len(lengths):
        raise ConfigError(
            message,
            stage,
            f"raise max_length of this training; the longest has {max(lengths):,} tokens",
        )
    if number:
        session.post(f"    {stage}: {message} and are left out; the longest has {max(lengths):,}")


def _read_examples(settings: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> list[Example]:
    from raypipe.tuning import chat

    examples: list[Example] = []
    for row in pd.concat(map(pd.read_parquet, settings["examples"])).itertuples():
        if row.prompt:
            examples.append(chat.instruction(tokenizer, row.prompt, row.answer))
        else:
            examples += chat.document(tokenizer, row.answer, settings["tune"].max_length)
    return examples


def _check_lengths(settings: dict[str, Any], stage: str) -> None:
    from transformers import AutoTokenizer

    examples = _read_examples(settings, AutoTokenizer.from_pretrained(settings["model"]))
    lengths = [len(example.ids) for example in examples]
    refuse_long(lengths, settings["tune"].max_length, stage)


def _tune_loop(worker: Session, settings: dict[str, Any]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from raypipe.tuning import checkpoint, sft

    training: TrainingConfig = settings["tune"]
    tokenizer = AutoTokenizer.from_pretrained(settings["model"])
    cuda = worker.device.type == "cuda"
    flash = {"attn_implementation": "flash_attention_2"} if cuda and find_spec("flash_attn") else {}
    model = AutoModelForCausalLM.from_pretrained(
        settings["model"], dtype="bfloat16" if cuda else "float32", **flash
    )
    examples = _read_examples(settings, tokenizer)
    fitting = [example for example in examples if len(example.ids) <= training.max_length]
    progress = _Progress(worker, settings["label"])
    options = sft.Settings(
        training.epochs,
        training.learning_rate,
        training.batch_size,
        training.warmup_steps,
        sft.zero_stage(training.zero_stage, settings["model"]),
        settings["seed"],
        settings["dropout"],
    )
    padding = (
        tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    )
    process = sft.Worker(worker.rank, worker.world, worker.device)
    with worker.resume() as resume:
        run = sft.Run(process, progress.report, worker.save, resume)
        state = sft.tune(model, padding, fitting, options, run)

    def write(folder: Path) -> None:
        assert state is not None
        checkpoint.save(model, state, Path(settings["model"]), folder)
        tokenizer.save_pretrained(folder)
        facts = {
            "examples": len(fitting),
            "too_long": len(examples) - len(fitting),
            **progress.facts(),
            "parameters": sum(values.numel() for values in state.values()),
            "zero_stage": options.zero_stage,
        }
        (folder / FACTS).write_text(json.dumps(facts))

    worker.finish(write)


class _Progress:
    """Prints a training's progress, and remembers it for the facts."""

    def __init__(self, worker: Session, label: str) -> None:
        self.worker, self.label = worker, label
        self.last: dict[str, float] = {}
        self.speeds: list[float] = []

    def report(self, line: dict[str, float]) -> None:
        self.last.update(line)
        self.speeds.append(line["tokens_per_second"])
        if self.worker.rank == 0:
            session.post(
                f"{self.label}: step {line['step']} of {line['steps']}, loss {line['loss']:.3f}, "
                f"{line['tokens_per_second']:,.0f} tokens/s"
            )

    def facts(self) -> dict[str, float | None]:
        return {
            "steps": int(self.last.get("steps", 0)),
            "loss": self.last.get("loss"),
            "tokens_per_second": float(np.mean(self.speeds)) if self.speeds else None,
        }

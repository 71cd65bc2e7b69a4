"""The stage body that tunes an LLM on texts or instructions, on Ray Train under DeepSpeed, whatever the paper."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from raypipe.cluster import session, train
from raypipe.errors import ConfigError
from raypipe.pipeline.stage import Context
from raypipe.seeding import derive
from raypipe.tuning.config import TrainingConfig

#: what a loop leaves beside the model: facts for the stage's manifest
FACTS = "training.json"

#: bytes of the weights of an LLM that two processes of a machine may hold
SMALL = 200 * 2**20


def run_tuning(
    ctx: Context,
    model: str,
    examples: list[str],
    tune: TrainingConfig,
    seed: int,
    dropout: float,
    every_seconds: float,
) -> dict[str, Any]:
    """Tune `model` on files of examples with the columns `prompt` ("" for running text) and `answer`; writes model/.

    Args:
        every_seconds: least time between two checkpoints.
    """
    settings = {"model": model, "examples": examples, "tune": tune, "dropout": dropout}
    session.in_worker(_check_lengths, settings, ctx.name)
    return train_model(ctx, _tune_loop, settings, seed, crew(tune, model), every_seconds)


def crew(own: TrainingConfig, model: str) -> train.Workers:
    """As many workers as asked for; else one a GPU. On CPUs two for a small LLM, as processes train it faster than threads do, and
    one for others, of which each worker would hold its own.
    """
    small = 0 < sum(file.stat().st_size for file in Path(model).glob("*.safetensors")) < SMALL
    return train.workers(own.workers, 2 if small and own.batch_size % 2 == 0 else 1)


def train_model(
    ctx: Context,
    loop: Callable[..., None],
    settings: dict[str, Any],
    seed: int,
    crew: train.Workers,
    every_seconds: float,
) -> dict[str, Any]:
    """Run a loop on Ray Train; what it hands over at its end, a model and FACTS, becomes model/.

    Args:
        settings: what the loop gets, beside the stage's `label` for lines of progress and its own `seed`.
        every_seconds: least time between two checkpoints.
    """
    asked = {**settings, "label": f"    {ctx.name}", "seed": derive(seed, ctx.name)}
    checkpoint = train.run(loop, asked, ctx.scratch, crew, every_seconds=every_seconds)
    with train.final(checkpoint) as folder:
        (ctx.out / "model").mkdir()
        for file in folder.iterdir():
            (ctx.out / "model" / file.name).write_bytes(file.read_bytes())
    facts = json.loads((ctx.out / "model" / FACTS).read_text())
    return {**facts, "workers": crew.number}


def refuse_long(lengths: Sequence[int], most: int, stage: str) -> None:
    """Tell how many examples have more than `max_length` tokens, which are left out.

    Raises:
        ConfigError: more than half have: what would be learnt is not what was asked for.
    """
    long = sum(n > most for n in lengths)
    told = f"{long:,} of {len(lengths):,} examples are longer than max_length = {most} tokens"
    if 2 * long > len(lengths):
        raise ConfigError(
            told,
            stage,
            f"raise max_length of this training; the longest has {max(lengths):,} tokens",
        )
    if long:
        session.post(f"    {stage}: {told} and are left out; the longest has {max(lengths):,}")


def _examples(settings: dict[str, Any], tokenizer: Any) -> list[Any]:
    from raypipe.tuning import chat

    made = []
    for row in pd.concat(map(pd.read_parquet, settings["examples"])).itertuples():
        if row.prompt:
            made.append(chat.instruction(tokenizer, row.prompt, row.answer))
        else:
            made += chat.document(tokenizer, row.answer, settings["tune"].max_length)
    return made


def _check_lengths(settings: dict[str, Any], stage: str) -> None:
    from transformers import AutoTokenizer

    made = _examples(settings, AutoTokenizer.from_pretrained(settings["model"]))
    refuse_long([len(e.ids) for e in made], settings["tune"].max_length, stage)


def _tune_loop(work: train.Session, settings: dict[str, Any]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from raypipe.tuning import checkpoint, sft

    tune, label = settings["tune"], settings["label"]
    tokenizer = AutoTokenizer.from_pretrained(settings["model"])
    cuda = work.device.type == "cuda"
    flash = {"attn_implementation": "flash_attention_2"} if cuda and find_spec("flash_attn") else {}
    model = AutoModelForCausalLM.from_pretrained(
        settings["model"], dtype="bfloat16" if cuda else "float32", **flash
    )
    made = _examples(settings, tokenizer)
    examples = [e for e in made if len(e.ids) <= tune.max_length]
    last: dict[str, float] = {}
    rates: list[float] = []

    def report(line: dict[str, float]) -> None:
        last.update(line)
        rates.append(line["tokens_per_second"])
        if work.rank == 0:
            session.post(
                f"{label}: step {line['step']} of {line['steps']}, loss {line['loss']:.3f}, "
                f"{line['tokens_per_second']:,.0f} tokens/s"
            )

    options = sft.Settings(
        tune.epochs,
        tune.learning_rate,
        tune.batch_size,
        tune.warmup_steps,
        sft.zero_stage(tune.zero_stage, settings["model"]),
        settings["seed"],
        settings["dropout"],
    )
    padding = (
        tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    )
    with work.resume() as folder:
        state = sft.tune(
            model,
            padding,
            examples,
            options,
            sft.Worker(work.rank, work.world, work.device),
            report,
            work.save,
            folder,
        )

    def write(folder: Path) -> None:
        assert state is not None
        checkpoint.save(model, state, Path(settings["model"]), folder)
        tokenizer.save_pretrained(folder)
        facts = {
            "examples": len(examples),
            "too_long": len(made) - len(examples),
            "steps": int(last.get("steps", 0)),
            "loss": last.get("loss"),
            "tokens_per_second": float(np.mean(rates)) if rates else None,
            "parameters": sum(p.numel() for p in state.values()),
            "zero_stage": options.zero_stage,
        }
        (folder / FACTS).write_text(json.dumps(facts))

    work.finish(write)

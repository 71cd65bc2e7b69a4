"""Stages that train the LLM.

First its language, then distillation, dialogues, items, the reward model and reinforcement
learning. The loops that run on the workers of Ray Train are in llm_loops.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pandas as pd

from raypipe.cluster import session
from raypipe.data.snapshot import VALIDATION
from raypipe.papers.reclm.config import ReclmConfig
from raypipe.papers.reclm.dialogues import TURNS
from raypipe.papers.reclm.histories import histories, load_tables
from raypipe.papers.reclm.llm_loops import (
    check_lengths,
    policy_loop,
    read_dialogues,
    read_pairs,
    reward_loop,
    tune_loop,
)
from raypipe.papers.reclm.rendering import ProfilePrompts, item_texts
from raypipe.papers.reclm.reward_pairs import PAIRS, PROMPTS
from raypipe.papers.reclm.teacher import read_teacher_profiles
from raypipe.pipeline.stage import Context
from raypipe.steps.artifacts import llm_path
from raypipe.steps.tuning import Tuning, run_tuning, train_model, tuning_workers
from raypipe.tuning.config import TrainingConfig


def build_base(ctx: Context, config: ReclmConfig) -> dict[str, Any]:
    """The LLM before tuning: source.json refers to it, except for `embedded`.

    The tokenizer and the model of `embedded` are built from item texts, histories of the training
    part and the teacher's profiles, and pre-trained on them.
    """
    if config.llm.source != "embedded":
        (ctx.out / "source.json").write_text(json.dumps({"model": config.llm.source}))
        return {"model": config.llm.source}
    facts = session.in_worker(_prepare_embedded, ctx, config)
    embedded, distil = config.llm.embedded, config.llm.distil
    training = TrainingConfig(
        epochs=embedded.epochs,
        learning_rate=embedded.learning_rate,
        batch_size=embedded.batch_size,
        max_length=distil.max_length,
        zero_stage=distil.zero_stage,
        workers=distil.workers,
    )
    corpus = [str(ctx.out / "corpus.parquet")]
    tuning = Tuning(str(ctx.out / "untrained"), corpus, training, embedded.dropout)
    return {**facts, **run_tuning(ctx, tuning, config.seed, config.checkpoint_seconds)}


def _prepare_embedded(ctx: Context, config: ReclmConfig) -> dict[str, Any]:
    """untrained/, an LLM with random weights, and corpus.parquet, the texts of its pre-training."""
    from raypipe.llm import embedded

    tables = load_tables(ctx)
    prompts = ProfilePrompts.of(tables.dataset, config.profiles)
    documents = item_texts(tables.dataset)
    user_histories = histories(tables, VALIDATION)
    for user in range(len(user_histories)):
        history = user_histories.row(user)
        if len(history) > 1:
            documents.append(prompts.user(history, ()).text)
    for side in ("users", "items"):
        documents += read_teacher_profiles(ctx.input(side)).values()
    folder = ctx.out / "untrained"
    folder.mkdir()
    # Titles are spelt in pieces: a token per title would carry no meaning for a cold-start item.
    facts = embedded.build(documents, [], config.llm.embedded, config.seed, folder)
    corpus = pd.DataFrame({"prompt": "", "answer": documents})
    corpus.to_parquet(ctx.out / "corpus.parquet", index=False)
    return {**facts, "rows": len(documents)}


def tune(
    ctx: Context, config: ReclmConfig, training: TrainingConfig, loss: str = "responses"
) -> dict[str, Any]:
    """Tune the LLM of the input `llm` on the examples of `examples`, with TRL's SFTTrainer."""
    settings = {
        "examples": str(ctx.input("examples") / TURNS),
        "loss": loss,
        "max_length": training.max_length,
    }
    model = llm_path(ctx.input("llm"))
    session.in_worker(check_lengths, read_dialogues, settings, model, ctx.name)
    return _train(ctx, tune_loop, config, training, settings)


def train_reward(ctx: Context, config: ReclmConfig) -> dict[str, Any]:
    """The reward model, from the LLM of the input `llm` and the pairs of `preferences` (R19)."""
    training = config.llm.reward
    settings = {
        "pairs": str(ctx.input("preferences") / PAIRS),
        "max_length": training.max_length,
    }
    model = llm_path(ctx.input("llm"))
    session.in_worker(check_lengths, read_pairs, settings, model, ctx.name)
    return _train(ctx, reward_loop, config, training, settings)


def reinforce(ctx: Context, config: ReclmConfig) -> dict[str, Any]:
    """The LLM of the input `llm`, improved by the reward model (R21).

    curve.json has the rewards and the divergence by step; the facts have their means over the first
    and the last round, as single batches are too noisy.
    """
    policy = config.llm.policy
    training = TrainingConfig(
        learning_rate=policy.learning_rate,
        batch_size=policy.batch_size,
        workers=config.llm.dialogue.workers,
    )
    settings = {
        "judge": str(ctx.input("reward") / "model"),
        "prompts": str(ctx.input("preferences") / PROMPTS),
        "policy": policy,
    }
    facts = _train(ctx, policy_loop, config, training, settings)
    (ctx.out / "model" / "curve.json").rename(ctx.out / "curve.json")
    curve = json.loads((ctx.out / "curve.json").read_text())
    if not curve:
        return facts
    rounds = pd.DataFrame(curve).groupby("round").mean()
    for name in ("score", "kl"):
        facts[f"{name} first"] = float(rounds[name].iloc[0])
        facts[f"{name} last"] = float(rounds[name].iloc[-1])
    return facts


def _train(
    ctx: Context,
    loop: Callable[..., None],
    config: ReclmConfig,
    training: TrainingConfig,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """Run a loop on the LLM of the input `llm`; it becomes model/."""
    model = llm_path(ctx.input("llm"))
    all_settings = {
        **settings,
        "model": model,
        "training": training,
        "adapter": config.llm.adapter,
    }
    workers = tuning_workers(training, model)
    return train_model(ctx, loop, all_settings, config.seed, workers, config.checkpoint_seconds)

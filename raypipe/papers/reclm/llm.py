"""Stages that train the LLM: its language, distillation, dialogues, items, the reward model and reinforcement learning."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from raypipe.cluster import session, train
from raypipe.data.snapshot import VALIDATION
from raypipe.papers.reclm.config import ReclmConfig
from raypipe.papers.reclm.dialogues import TURNS
from raypipe.papers.reclm.histories import histories, tables
from raypipe.papers.reclm.rendering import Book, line
from raypipe.papers.reclm.reward_pairs import PAIRS, PROMPTS
from raypipe.papers.reclm.teacher import read_profiles
from raypipe.pipeline.stage import Context
from raypipe.prompts import profiles
from raypipe.schema import TEXT, TITLE
from raypipe.steps.artifacts import model_of
from raypipe.steps.tuning import FACTS, crew, refuse_long, run_tuning, train_model
from raypipe.tuning.config import TrainingConfig

#: tokens of an answer in reinforcement learning
ANSWER = 96
#: reads examples, and their lengths in tokens, by the settings of a loop and a tokenizer
Read = Callable[[dict[str, Any], Any], tuple[list[Any], list[int]]]


def build_base(ctx: Context, config: ReclmConfig) -> dict[str, Any]:
    """The untuned LLM: for `embedded`, tokenizer and model are built from item texts, histories of the training part and the
    teacher's profiles, and learn their language; else a reference.
    """
    if config.llm.source != "embedded":
        (ctx.out / "source.json").write_text(json.dumps({"model": config.llm.source}))
        return {"model": config.llm.source}
    facts = session.in_worker(_prepare_embedded, ctx, config)
    own = config.llm.embedded
    language = TrainingConfig(
        epochs=own.epochs,
        learning_rate=own.learning_rate,
        batch_size=own.batch_size,
        max_length=config.llm.distil.max_length,
        zero_stage=config.llm.distil.zero_stage,
        workers=config.llm.distil.workers,
    )
    corpus = [str(ctx.out / "corpus.parquet")]
    untrained = str(ctx.out / "untrained")
    return {
        **facts,
        **run_tuning(
            ctx, untrained, corpus, language, config.seed, own.dropout, config.checkpoint_seconds
        ),
    }


def _prepare_embedded(ctx: Context, config: ReclmConfig) -> dict[str, Any]:
    from raypipe.llm import embedded

    source = tables(ctx)
    dataset = source.dataset
    book, known = Book.of(dataset, config.profiles), histories(source, VALIDATION)
    items = dataset.items
    features = items[list(dataset.item_features)].to_numpy(str)
    documents = [line(t, f, x) for t, f, x in zip(items[TITLE], features, items[TEXT], strict=True)]
    for u in range(len(known)):
        if len(known.row(u)) > 1:
            documents.append(book.user(known.row(u), (), "").text)
    for side in ("users", "items"):
        documents += list(read_profiles(ctx.input(side)).values())
    folder = ctx.out / "untrained"
    folder.mkdir()
    # a title of its own token would tell nothing of an item that nobody took yet: titles are spelt
    facts = embedded.build(documents, [], config.llm.embedded, config.seed, folder)
    pd.DataFrame({"prompt": "", "answer": documents}).to_parquet(
        ctx.out / "corpus.parquet", index=False
    )
    return {**facts, "rows": len(documents)}


def tune(
    ctx: Context, config: ReclmConfig, own: TrainingConfig, loss: str = "responses"
) -> dict[str, Any]:
    """Tune the LLM of the input `llm` on the examples of the input `examples`, by TRL's SFTTrainer."""
    settings = {
        "examples": str(ctx.input("examples") / TURNS),
        "loss": loss,
        "most": own.max_length,
    }
    session.in_worker(_check_lengths, _dialogues, settings, model_of(ctx.input("llm")), ctx.name)
    return _train(ctx, _tune_loop, config, own, settings)


def train_reward(ctx: Context, config: ReclmConfig) -> dict[str, Any]:
    """The reward model, from the LLM of the input `llm` and the pairs of the input `preferences` (R19)."""
    settings = {
        "pairs": str(ctx.input("preferences") / PAIRS),
        "most": config.llm.reward.max_length,
    }
    session.in_worker(_check_lengths, _pairs, settings, model_of(ctx.input("llm")), ctx.name)
    return _train(ctx, _reward_loop, config, config.llm.reward, settings)


def reinforce(ctx: Context, config: ReclmConfig) -> dict[str, Any]:
    """The LLM of the input `llm`, improved by the reward model (R21); curve.json has rewards and divergence by step."""
    policy = config.llm.policy
    own = TrainingConfig(
        learning_rate=policy.learning_rate,
        batch_size=policy.batch_size,
        workers=config.llm.dialogue.workers,
    )
    settings = {
        "judge": str(ctx.input("reward") / "model"),
        "prompts": str(ctx.input("preferences") / PROMPTS),
        "policy": policy,
    }
    facts = _train(ctx, _policy_loop, config, own, settings)
    (ctx.out / "model" / "curve.json").rename(ctx.out / "curve.json")
    curve = json.loads((ctx.out / "curve.json").read_text())
    if not curve:
        return facts
    rounds = (
        pd.DataFrame(curve).groupby("round").mean()
    )  # of single batches of answers little can be told
    ends = {
        f"{name} {when}": float(rounds[name].iloc[at])
        for name in ("score", "kl")
        for when, at in (("first", 0), ("last", -1))
    }
    return {**facts, **ends}


def _train(
    ctx: Context,
    loop: Callable[..., None],
    config: ReclmConfig,
    own: TrainingConfig,
    settings: dict[str, Any],
) -> dict[str, Any]:
    everything = {
        **settings,
        "model": model_of(ctx.input("llm")),
        "own": own,
        "adapter": config.llm.adapter,
    }
    return train_model(
        ctx,
        loop,
        everything,
        config.seed,
        crew(own, everything["model"]),
        config.checkpoint_seconds,
    )


def _finish(
    work: train.Session, settings: dict[str, Any], run: Callable[..., Any], facts: dict[str, Any]
) -> None:
    """Run a trainer with all that is common, and hand over what it wrote."""
    import tempfile

    last: dict[str, float] = {}

    def report(line: dict[str, float]) -> None:
        last.update(line)
        if work.rank == 0:
            told = ", ".join(
                f"{k} {v:.3f}"
                for k, v in line.items()
                if k not in ("step", "steps", "round", "rounds")
            )
            at = (
                f"step {line['step']} of {line['steps']}"
                if "step" in line
                else f"round {line['round']} of {line['rounds']}"
            )
            session.post(f"{settings['label']}: {at}, {told}")

    with tempfile.TemporaryDirectory(prefix="raypipe-") as made:
        with work.resume() as resume:
            curve = run(report, resume, Path(made))

        def write(folder: Path) -> None:
            import shutil

            shutil.copytree(made, folder, dirs_exist_ok=True)
            (folder / FACTS).write_text(json.dumps({**facts, **last}))
            if curve is not None:
                (folder / "curve.json").write_text(json.dumps(curve))

        work.finish(write)


def _settings(settings: dict[str, Any]) -> tuple[Any, Any]:
    from raypipe.tuning import sft, trainers

    own, adapter = settings["own"], settings["adapter"]
    stage = sft.zero_stage(own.zero_stage, settings["model"])
    return (
        sft.Settings(
            own.epochs, own.learning_rate, own.batch_size, own.warmup_steps, stage, settings["seed"]
        ),
        trainers.Adapter(adapter.rank, adapter.alpha, adapter.dropout),
    )


def _check_lengths(read: Read, settings: dict[str, Any], model: str, stage: str) -> None:
    from transformers import AutoTokenizer

    refuse_long(read(settings, AutoTokenizer.from_pretrained(model))[1], settings["most"], stage)


def _dialogues(settings: dict[str, Any], tokenizer: Any) -> tuple[list[Any], list[int]]:
    """Examples, and their lengths in tokens."""
    from raypipe.tuning import dialogue

    rows = pd.read_parquet(settings["examples"])["turns"]
    made = [
        dialogue.tokens(tokenizer, list(zip(t[::2], t[1::2], strict=True)), settings["loss"])
        for t in rows
    ]
    return made, [len(e.ids) for e in made]


def _pairs(settings: dict[str, Any], tokenizer: Any) -> tuple[list[Any], list[int]]:
    """Pairs of good and bad answers with their queries, and the lengths of the longer ones in tokens."""
    from raypipe.tuning import policy

    rows = pd.read_parquet(settings["pairs"])
    rows = rows[rows["part"] == "train"]
    good, bad = (
        [policy.tokens(tokenizer, p, a) for p, a in zip(rows["prompt"], rows[side], strict=True)]
        for side in ("chosen", "rejected")
    )
    made = list(zip(good, bad, strict=True))
    return made, [max(len(g), len(b)) for g, b in made]


def _kept(read: Read, settings: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The examples that are short enough, and how many are and are not."""
    from transformers import AutoTokenizer

    made, lengths = read(settings, AutoTokenizer.from_pretrained(settings["model"]))
    fits = [e for e, n in zip(made, lengths, strict=True) if n <= settings["most"]]
    return fits, {"rows": len(fits), "too_long": len(made) - len(fits)}


def _tune_loop(work: train.Session, settings: dict[str, Any]) -> None:
    from raypipe.tuning import trainers

    own, adapter = _settings(settings)
    kept, facts = _kept(_dialogues, settings)

    def run(report: Any, resume: Path | None, folder: Path) -> None:
        trainers.dialogues(settings["model"], kept, own, adapter, work, report, resume, folder)

    _finish(work, settings, run, {**facts, "tokens": sum(len(e.ids) for e in kept)})


def _reward_loop(work: train.Session, settings: dict[str, Any]) -> None:
    from raypipe.tuning import trainers

    own, adapter = _settings(settings)
    kept, facts = _kept(_pairs, settings)
    chosen, rejected = ([pair[side] for pair in kept] for side in (0, 1))

    def run(report: Any, resume: Path | None, folder: Path) -> None:
        trainers.rewards(
            settings["model"], chosen, rejected, own, adapter, work, report, resume, folder
        )

    _finish(work, settings, run, facts)


def _policy_loop(work: train.Session, settings: dict[str, Any]) -> None:
    from raypipe.tuning import policy

    own = settings["policy"]
    _, adapter = _settings(settings)
    prompts = pd.read_parquet(settings["prompts"])["prompt"].tolist()
    asked = policy.Policy(
        own.method,
        own.rounds,
        own.batch_size,
        own.learning_rate,
        own.beta,
        own.temperature,
        own.group,
        ANSWER,
        profiles.END,
        own.zero_stage,
        settings["seed"],
    )

    def run(report: Any, resume: Path | None, folder: Path) -> Any:
        return policy.reinforce(
            settings["model"],
            settings["judge"],
            prompts,
            asked,
            adapter,
            work,
            report,
            resume,
            folder,
        )

    _finish(work, settings, run, {"rows": len(prompts)})

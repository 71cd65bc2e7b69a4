"""Llama4Rec as a list of stages, in the order of the paper: base models, prompts, tuning, augmentation, aggregation, test."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from raypipe.backbones import registry
from raypipe.cluster import session, train
from raypipe.config import RunConfig
from raypipe.data.audit import audit
from raypipe.data.dataset import read, source_options
from raypipe.data.split import make_split
from raypipe.errors import ConfigError, DataError
from raypipe.papers.llama4rec.augment import augmentation
from raypipe.papers.llama4rec.bundle import bundle
from raypipe.papers.llama4rec.choose import choose, pointwise_test_prompts
from raypipe.papers.llama4rec.evaluate import evaluate
from raypipe.papers.llama4rec.generation import generate, instructions, prompts, style_of
from raypipe.papers.llama4rec.training import DEEP, build_base, fit_backbone, tune_llm
from raypipe.pipeline.stage import Context, Stage
from raypipe.prompts.contract import LABELS
from raypipe.schema import RATING
from raypipe.tuning.checkpoint import check_source

DATA = ("data", "schema.py")
MODELS = (*DATA, "backbones", "seeding.py", "evaluation/metrics.py", "papers/llama4rec/training.py")
TEXT = (*DATA, "prompts", "papers/llama4rec/asks.py", "papers/llama4rec/words.py", "papers/llama4rec/generation.py")
TUNED = ("tuning", "papers/llama4rec/training.py")
ENGINE = ("llm", "papers/llama4rec/generation.py")
RANKED = (*TEXT, "aggregation.py", "evaluation", "papers/llama4rec/ranks.py", "papers/llama4rec/choose.py")


#: the settings of the data that the split depends on
PROTOCOL = {"protocol", "liked_from", "split", "temporal_cuts", "mask_history"}


def check(config: RunConfig) -> None:
    """Refuse what cannot work, before anything starts.

    Raises:
        ConfigError: unknown backbone or dataset or option, an LLM folder that is not one, too many labels.
    """
    source_options(config.data)
    for task in config.tasks:
        if not config.backbones.get(task):
            raise ConfigError(f"the task {task} has no backbone", "backbones", f"choose among {', '.join(registry.names(task))}")
        for name in config.backbones[task]:
            registry.options(task, name, config.backbone_options.get(name, {}))
    for name in config.backbone_options:
        registry.task_of(name)
    check_source(config.llm.source)
    most = max(config.rerank.k_prime, config.augment.pick_from)
    if style_of(config) == "label" and most > len(LABELS):
        raise ConfigError(
            f"{most} candidates cannot be labelled by {len(LABELS)} letters", "rerank.k_prime, augment.pick_from", "lower them"
        )


def check_resources(config: RunConfig) -> None:
    """Refuse what the connected cluster cannot hold; called before the first stage.

    Raises:
        ConfigError: more workers or engine replicas than CPUs or GPUs.
    """
    train.workers(config.llm.tune.workers, 2)
    train.workers(config.backbone_workers, 1, "backbone_workers")
    have, engine = session.resources(), config.llm.engine
    wanted = engine.concurrency * engine.tensor_parallel
    room = int(have.get("GPU", 0)) or int(have.get("CPU", 1))
    if wanted > room:
        raise ConfigError(
            f"{engine.concurrency} engines of {engine.tensor_parallel} device(s) do not fit on {room} GPUs or CPUs",
            "llm.engine.concurrency, llm.engine.tensor_parallel",
            f"ask for at most {room} in all",
        )


def fingerprint(config: RunConfig) -> Any:
    """What identifies the source files: name, size and time of each."""
    folder = Path(config.data.dir) if config.data.dir else None
    if folder is None or not folder.is_dir():
        return None
    return [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in sorted(folder.iterdir()) if f.is_file()]


def plan(config: RunConfig) -> list[Stage]:
    """All stages of a run."""
    check(config)
    stages = [
        Stage(
            "data",
            partial(_read, config=config),
            config={
                **config.data.model_dump(include={"name", "options", "min_interactions"}),
                "files": fingerprint(config),
                "rating": "rating" in config.tasks,
            },
            code=DATA,
        ),
        Stage(
            "split",
            partial(_split, config=config),
            {"data": "data"},
            [config.data.model_dump(include=PROTOCOL), config.llm.tune.holdout],
            DATA,
        ),
    ]
    for number in range(config.seeds):
        stages += _seed(config, config.seed + number)
    first = f"seed{config.seed}"
    stages.append(
        Stage(
            "bundle",
            partial(bundle, config=config, seed=config.seed),
            {
                "data": "data",
                "split": "split",
                "llm": f"{first}/llm/augmented",
                "augmentation": f"{first}/augmentation",
                "chosen": f"{first}/chosen/llama4rec",
                **{f"augmented/{n}": f"{first}/augmented/{n}" for _, n in _backbones(config)},
            },
            config.model_dump(mode="json"),
            (*MODELS, "papers/llama4rec/bundle.py"),
        )
    )
    return stages


def _backbones(config: RunConfig) -> list[tuple[str, str]]:
    return [(task, name) for task in config.tasks for name in config.backbones[task]]


def _seed(config: RunConfig, seed: int) -> list[Stage]:
    at = f"seed{seed}"
    both = {"data": "data", "split": "split"}
    names = _backbones(config)
    wording = [config.prompts.model_dump(), style_of(config), config.rerank.model_dump(), names, seed]
    stages: list[Stage] = []

    def fits(kind: str, extra: dict[str, str]) -> None:
        for task, name in names:
            options = config.backbone_options.get(name, {})
            k = DEEP if kind == "hint" else config.rerank.k_prime
            stages.append(
                Stage(
                    f"{at}/{kind}/{name}",
                    partial(
                        fit_backbone, config=config, task=task, name=name, options=options, hint=kind == "hint", k=k, seed=seed
                    ),
                    {**both, **extra},
                    [registry.options(task, name, options).model_dump(), config.backbone_workers, k, seed],
                    MODELS,
                    on_driver=True,
                    resources=f"Ray Train: {config.backbone_workers} worker(s)",
                )
            )

    def wave(kind: str, llm: str, models: str) -> None:
        """Prompts, completions and choice of one variant, then the test prompts of a chosen pointwise ranking."""
        of_models = {f"model/{n}": f"{at}/{models}/{n}" for _, n in names}
        hints = kind == "llama4rec"
        stages.append(Stage(f"{at}/prompts/{kind}", partial(prompts, config=config, kind=kind, seed=seed),
                            {**both, **of_models}, wording, TEXT, True, "Ray Data"))  # fmt: skip
        completions(kind, llm)
        waved = {"prompts": f"{at}/prompts/{kind}", "completions": f"{at}/completions/{kind}"}
        grids = config.aggregation.model_dump() if hints else None
        stages.append(Stage(f"{at}/chosen/{kind}", partial(choose, config=config, variant=kind, seed=seed),
                            {**both, **of_models, **waved}, [wording, grids], RANKED, True, "Ray Tune"))  # fmt: skip
        stages.append(Stage(f"{at}/prompts/{kind}-pointwise",
                            partial(pointwise_test_prompts, config=config, with_hints=hints, seed=seed),
                            {**both, **of_models, "chosen": f"{at}/chosen/{kind}"}, wording, RANKED, True, "Ray Data"))  # fmt: skip
        completions(f"{kind}-pointwise", llm)

    def completions(kind: str, llm: str) -> None:
        engine = config.llm.engine
        stages.append(Stage(f"{at}/completions/{kind}", partial(generate, config=config),
                            {"prompts": f"{at}/prompts/{kind}", "llm": f"{at}/llm/{llm}"},
                            [engine.name, engine.dtype], ENGINE, True,
                            f"Ray Data: {engine.concurrency} x {engine.name}"))  # fmt: skip

    fits("hint", {})
    fits("base", {})
    embedded = config.llm.source == "embedded"
    base_config = [config.llm.source, seed]
    if embedded:
        tune = config.llm.tune.model_dump(exclude={"epochs", "learning_rate", "instructions"})
        base_config += [config.llm.embedded.model_dump(), tune, config.prompts.history, "rating" in config.tasks]
    stages.append(Stage(f"{at}/llm/base", partial(build_base, config=config, seed=seed), both, base_config,
                        (*TEXT[:-1], *TUNED, "llm/embedded.py") if embedded else (), True,
                        "Ray Train: DeepSpeed"))  # fmt: skip
    for kind, hints in (("plain", False), ("augmented", True)):
        of_hints = {f"hint/{n}": f"{at}/hint/{n}" for _, n in names}
        stages.append(Stage(f"{at}/instructions/{kind}", partial(instructions, config=config, with_hints=hints, seed=seed),
                            {**both, **of_hints}, [wording, config.llm.tune.instructions, config.augment.model_dump()],
                            TEXT, True, "Ray Data"))  # fmt: skip
        stages.append(Stage(f"{at}/llm/{kind}", partial(tune_llm, config=config, seed=seed),
                            {"base": f"{at}/llm/base", "instructions": f"{at}/instructions/{kind}"},
                            [config.llm.tune.model_dump(exclude={"instructions"}), seed],
                            TUNED, True, "Ray Train: DeepSpeed"))  # fmt: skip
    stages.append(Stage(f"{at}/prompts/augment", partial(prompts, config=config, kind="augment", seed=seed),
                        both, [wording, config.augment.model_dump(), list(config.tasks)], TEXT, True, "Ray Data"))  # fmt: skip
    completions("augment", "augmented")
    waved = {"prompts": f"{at}/prompts/augment", "completions": f"{at}/completions/augment"}
    stages.append(Stage(f"{at}/augmentation", partial(augmentation, seed=seed), waved, seed,
                        ("prompts", "papers/llama4rec/augment.py"), True))  # fmt: skip
    fits("augmented", {"augmentation": f"{at}/augmentation"})
    wave("ift", "plain", "base")
    wave("llama4rec", "augmented", "augmented")
    inputs = {**both}
    for _, name in names:
        inputs |= {f"base/{name}": f"{at}/base/{name}", f"augmented/{name}": f"{at}/augmented/{name}"}
    for kind in ("ift", "llama4rec"):
        inputs[f"chosen/{kind}"] = f"{at}/chosen/{kind}"
        for one in (kind, f"{kind}-pointwise"):
            inputs |= {f"prompts/{one}": f"{at}/prompts/{one}", f"completions/{one}": f"{at}/completions/{one}"}
    stages.append(Stage(f"{at}/evaluate", partial(evaluate, config=config), inputs, wording,
                        (*RANKED, "papers/llama4rec/evaluate.py"), True))  # fmt: skip
    return stages


def _read(ctx: Context, config: RunConfig) -> dict[str, Any]:
    dataset = read(config.data)
    if "rating" in config.tasks and dataset.interactions[RATING].nunique() < 2:
        raise DataError(
            "all ratings are equal, so there is nothing to predict", "task rating", "leave it out: --tasks direct,sequential"
        )
    dataset.save(ctx.out)
    log = dataset.interactions
    return {"rows": len(log), "users": len(dataset.users), "items": len(dataset.items), "quality": dataset.quality,
            "published_as": dataset.published_as}  # fmt: skip


def _split(ctx: Context, config: RunConfig) -> dict[str, Any]:
    from raypipe.data.dataset import Dataset

    made = make_split(Dataset.load(ctx.input("data")).interactions, config.data, config.llm.tune.holdout)
    if not (made.topk["part"] == "test").any():
        raise DataError(
            f"no user has a test row under the protocol {config.data.label!r}", f"dataset {config.data.name}",
            "give more data, or change data.protocol, data.split or data.temporal_cuts",
        )  # fmt: skip
    made.save(ctx.out)
    findings = audit(made)
    session.post("    leakage audit")
    for name, value in findings.items():
        session.post(f"      {name}: {value:.1%}" if "share" in name else f"      {name}: {value}")
    parts = made.topk["part"].value_counts().to_dict()
    rated = made.rating["part"].value_counts().to_dict()
    return {"rows": len(made.topk), "top-k rows": parts, "rating rows": rated, "audit": findings}

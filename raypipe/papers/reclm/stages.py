"""RecLM as a list of stages, in the order of the paper: snapshots, base models, teacher, tuning in two turns, reinforcement
learning, profiles of users and then of items, augmented models, test.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from raypipe.backbones import registry
from raypipe.cluster import session
from raypipe.data.dataset import Dataset
from raypipe.data.snapshot import make_snapshots
from raypipe.papers.completions import generate, generate_at
from raypipe.papers.data import DATA, read_stage
from raypipe.papers.reclm import dialogues, preferences, profiles, teacher, training
from raypipe.papers.reclm.bundle import bundle
from raypipe.papers.reclm.checks import check
from raypipe.papers.reclm.config import ReclmConfig
from raypipe.papers.reclm.evaluate import evaluate, text_signal
from raypipe.papers.reclm.fitting import Known, fit_backbone, neighbours
from raypipe.papers.reclm.vectors import item_vectors
from raypipe.pipeline.stage import Context, Stage

HERE = "papers/reclm"
MODELS = (*DATA, "backbones", "seeding.py", "evaluation/metrics.py", f"{HERE}/fitting.py")
WORDS = (*DATA, "prompts", f"{HERE}/wording.py", f"{HERE}/histories.py", f"{HERE}/teacher.py", f"{HERE}/profiles.py")
TUNED = ("tuning", "papers/tuning.py", f"{HERE}/training.py")
ENGINE = ("llm", "papers/completions.py")
VECTORS = ("llm/encoder.py", f"{HERE}/vectors.py")
TABLES = {"data": "data", "snapshots": "snapshots"}

#: the backbone whose users' embeddings tell who is similar (R11)
GRAPH = "light_gcn"


def plan(config: ReclmConfig) -> list[Stage]:
    """All stages of a run: one LLM for all repetitions."""
    check(config)
    return [*_data(config), *_base(config), *_llm(config), *_profiles(config), *_augmented(config), *_outcome(config)]


def needs_llm(config: ReclmConfig) -> bool:
    """Whether any row has profiles that the LLM writes."""
    return bool({"augment", "wo_user", "wo_item"} & set(config.rows))


def needs_teacher(config: ReclmConfig) -> bool:
    """Whether any row has profiles."""
    return bool(set(config.rows) - {"base"})


def _data(config: ReclmConfig) -> list[Stage]:
    cut = config.data.model_dump(include={"cut", "validation_items", "validation_users"})
    encoder = config.encoder.model_dump(exclude={"batch_size"})
    return [
        read_stage(config.data, "data"),
        Stage("snapshots", partial(_snapshots, config=config), {"data": "data"}, [cut, config.seed], DATA),
        Stage("vectors/texts", partial(item_vectors, config=config.encoder), {"data": "data"}, encoder, (*DATA, *VECTORS), "driver",
              "Ray Data: sentence-transformers"),
    ]  # fmt: skip


def _snapshots(ctx: Context, config: ReclmConfig) -> dict[str, Any]:
    made = make_snapshots(Dataset.load(ctx.input("data")).interactions, config.data, config.seed)
    made.save(ctx.out)
    facts = made.facts()
    session.post(f"    {', '.join(f'{name}: {n:,}' for name, n in facts.items())}")
    return {"rows": len(made.rows), **facts}


def _fit(config: ReclmConfig, name: str, row: str, known: Known, seed: int, inputs: dict[str, str]) -> Stage:
    options = registry.options("direct", name, config.backbone_options.get(name, {})).model_dump()
    body = partial(fit_backbone, config=config, name=name, known=known, seed=seed)
    at = f"seed{seed}/{row}/{name}"
    read = {**TABLES, "texts": "vectors/texts", **inputs}
    if known == "first":
        read["chosen"] = f"{at}@train"
    label = at if known == "first" else f"{at}@train"
    return Stage(label, body, read, [options, seed], MODELS, "trainer", "Ray Train: 1 worker")


def fits(config: ReclmConfig, row: str, inputs: dict[Known, dict[str, str]], only: tuple[str, ...] = ()) -> list[Stage]:
    """Both fits of every backbone and seed: on the training part, and, for the epochs that were best there, on the snapshot."""
    names = only or config.backbones
    made = []
    for known in inputs:
        for seed in config.repetitions:
            made += [_fit(config, name, row, known, seed, inputs[known]) for name in names]
    return made


def _base(config: ReclmConfig) -> list[Stage]:
    names = ("popularity", *(n for n in config.backbones if n != "popularity"))
    made = fits(config, "base", {"train": {}, "first": {}}, names)
    if GRAPH not in names and needs_llm(config):
        made.append(_fit(config, GRAPH, "base", "train", config.seed, {}))
    made.append(Stage("text-signal", partial(text_signal, config=config), {**TABLES, "texts": "vectors/texts"}, config.seed,
                      (*DATA, f"{HERE}/evaluate.py")))  # fmt: skip
    return made


def _teacher(config: ReclmConfig) -> list[Stage]:
    own = config.teacher
    asked = [own.model_dump(exclude={"endpoint"}), config.profiles.model_dump(), config.seed]
    stages = []
    for side in ("users", "items"):
        read = dict(TABLES) if side == "users" else {**TABLES, "users": "teacher/users"}
        if own.endpoint is not None:
            at = f"teacher-{side}"
            body = partial(teacher.endpoint_prompts, config=config, side=side)
            stages.append(Stage(f"prompts/{at}", body, dict(read), asked, WORDS, "driver", "1 CPU"))
            end = own.endpoint
            answer = partial(generate_at, endpoint=end, patience_seconds=config.llm.engine.patience_seconds)
            crew = f"Ray Data: {end.model}, {end.requests_per_minute:g} requests a minute"
            about = [end.url, end.model, end.max_tokens]
            stages.append(Stage(f"completions/{at}", answer, {"prompts": f"prompts/{at}"}, about, ENGINE, "driver", crew))
            read |= {"prompts": f"prompts/{at}", "completions": f"completions/{at}"}
        body = partial(teacher.teach, config=config, side=side)
        stages.append(Stage(f"teacher/{side}", body, read, asked, (*WORDS, "papers/completions.py")))
    return stages


def _completions(config: ReclmConfig, name: str, llm: str) -> Stage:
    engine = config.llm.engine
    inputs = {"prompts": f"prompts/{name}", "llm": llm}
    crew = f"Ray Data: {engine.concurrency} x {engine.name}"
    return Stage(
        f"completions/{name}", partial(generate, engine=engine), inputs, [engine.name, engine.dtype], ENGINE, "driver", crew
    )


def _said(name: str, suffix: str = "") -> dict[str, str]:
    return {f"prompts{suffix}": f"prompts/{name}", f"completions{suffix}": f"completions/{name}"}


def _llm(config: ReclmConfig) -> list[Stage]:
    """The teacher, and the LLM in every step of its education."""
    if not needs_teacher(config):
        return []
    stages = _teacher(config)
    if not needs_llm(config):
        return stages
    llm, seed = config.llm, config.seed
    wording = [config.profiles.model_dump(), seed]
    taught = {"users": "teacher/users", "items": "teacher/items"}
    near = {"neighbours": "neighbours"}
    sft = "Ray Train: TRL, DeepSpeed"
    code = (*WORDS, f"{HERE}/dialogues.py")

    def stage(name: str, body: Any, inputs: dict[str, str], settings: Any, of: tuple[str, ...], place: Any = "worker",
              crew: str = "1 CPU") -> None:  # fmt: skip
        stages.append(Stage(name, partial(body, config=config), {**TABLES, **inputs}, settings, of, place, crew))

    def tuned(name: str, own: Any, start: str, examples: str, loss: str = "responses") -> None:
        body = partial(training.tune, own=own, loss=loss)
        about = [own.model_dump(), llm.adapter.model_dump(), loss, seed]
        stages.append(Stage(name, partial(body, config=config), {"llm": start, "examples": examples}, about, TUNED, "driver", sft))

    graph = {"model": f"seed{seed}/base/{GRAPH}@train", "texts": "vectors/texts"}
    stage("neighbours", partial(neighbours, name=GRAPH), graph, config.profiles.neighbours, MODELS)
    base = [llm.source, seed, config.profiles.model_dump()]
    if llm.source == "embedded":
        base += [llm.embedded.model_dump(), llm.distil.model_dump(include={"max_length", "zero_stage", "workers"})]
    stage("llm/base", training.build_base, taught, base, (*WORDS, *TUNED, "llm/embedded.py"), "driver", "Ray Train: DeepSpeed")
    stage("examples/distil", dialogues.distillation, {"users": "teacher/users"}, wording, code)
    tuned("llm/distil", llm.distil, "llm/base", "examples/distil")
    drawn = [*wording, llm.dialogue.dialogues]
    stage("prompts/distilled", dialogues.distilled_prompts, {**near, "users": "teacher/users"}, drawn, code, "driver")
    stages.append(_completions(config, "distilled", "llm/distil"))
    stage("examples/dialogues", dialogues.dialogues, {**near, **_said("distilled")}, drawn, code)
    tuned("llm/dialogue", llm.dialogue, "llm/distil", "examples/dialogues", llm.dialogue.loss)
    if llm.policy.method != "none":
        drawn = [*wording, llm.reward.pairs, llm.policy.episodes]
        read = {**near, "users": "teacher/users", **_said("distilled")}
        stage("preferences", preferences.preferences, read, drawn, (*WORDS, f"{HERE}/preferences.py"))
        about = [llm.reward.model_dump(exclude={"pairs"}), llm.adapter.model_dump(), seed]
        stage("reward", training.train_reward, {"llm": "llm/distil", "preferences": "preferences"}, about, TUNED, "driver", sft)
        read = {"reward": "reward", "preferences": "preferences"}
        stage("reward-accuracy", preferences.judged, read, None, ("tuning", f"{HERE}/preferences.py"), "driver")
        about = [llm.policy.model_dump(), llm.adapter.model_dump(), seed]
        read |= {"llm": "llm/dialogue"}
        stage("llm/policy", training.reinforce, read, about, TUNED, "driver", f"Ray Train: TRL, {llm.policy.method.upper()}")
    return stages


def writer(config: ReclmConfig) -> str:
    """The stage of the LLM that writes users' profiles."""
    return "llm/dialogue" if config.llm.policy.method == "none" else "llm/policy"


#: users whose profiles are written before reinforcement learning, too
SAMPLE = 1000


def _profiles(config: ReclmConfig) -> list[Stage]:
    """Profiles of users, then of items, warm and cold; and their vectors."""
    if not needs_teacher(config):
        return []
    wording = [config.profiles.model_dump(), config.seed]
    encoder = config.encoder.model_dump(exclude={"batch_size"})
    stages: list[Stage] = []

    def stage(
        name: str, body: Any, inputs: dict[str, str], settings: Any, place: Any = "driver", more: tuple[str, ...] = ()
    ) -> None:
        code = (*WORDS, *more)
        stages.append(Stage(name, partial(body, config=config), {**TABLES, **inputs}, settings, code, place))

    def vectors(name: str, side: str, inputs: dict[str, str], known: Known) -> None:
        body = partial(profiles.profile_vectors, side=side, known=known)
        stage(f"vectors/{name}@{known}", body, inputs, [*wording, encoder], "driver", VECTORS)

    if "teacher" in config.rows:
        for side in ("users", "items"):
            vectors(f"teacher-{side}", side, {"taught": f"teacher/{side}"}, "train")
    if not needs_llm(config):
        return stages
    near = {"neighbours": "neighbours"}
    stage("prompts/users", profiles.user_prompts, near, wording)
    stages.append(_completions(config, "users", writer(config)))
    read = {"users": "teacher/users", "items": "teacher/items", "texts": "vectors/texts", **_said("users")}
    stage("examples/items", dialogues.item_examples, read, wording, "worker", (f"{HERE}/dialogues.py",))
    body = partial(training.tune, config=config, own=config.llm.items)
    about = [config.llm.items.model_dump(), config.llm.adapter.model_dump(), config.seed]
    inputs = {"llm": "llm/distil", "examples": "examples/items"}
    stages.append(Stage("llm/items", body, inputs, about, TUNED, "driver", "Ray Train: TRL, DeepSpeed"))
    stage("prompts/items-warm", profiles.warm_prompts, _said("users"), wording)
    stages.append(_completions(config, "items-warm", "llm/items"))
    stage("prompts/items-cold", profiles.cold_prompts, {"texts": "vectors/texts", **_said("items-warm")}, wording)
    stages.append(_completions(config, "items-cold", "llm/items"))
    both: tuple[Known, ...] = ("train", "first")
    for known in both:
        vectors("users", "users", _said("users"), known)
        vectors("items", "items", {**_said("items-warm", "-warm"), **_said("items-cold", "-cold")}, known)
    if config.llm.policy.method != "none":
        stage("prompts/sample", partial(profiles.user_prompts, only=SAMPLE), near, [*wording, SAMPLE])
        stages.append(_completions(config, "sample", "llm/dialogue"))
        stage("vectors/sample", profiles.sample_vectors, _said("sample"), [*wording, encoder], "driver", VECTORS)
        read = {**near, "before": "vectors/sample", "after": "vectors/users@train"}
        stage("smoothing", profiles.smoothing, read, wording, "worker")
    return stages


def _augmented(config: ReclmConfig) -> list[Stage]:
    """The backbones with profiles, one row of the tables after the other."""
    stages: list[Stage] = []
    for row in config.rows:
        if row == "base":
            continue
        prefix, sides = "", {"wo_user": ("items",), "wo_item": ("users",)}.get(row, ("users", "items"))
        if row == "teacher":
            prefix = "teacher-"
        both: tuple[Known, ...] = ("train", "first")
        inputs: dict[Known, dict[str, str]] = {
            known: {side: f"vectors/{prefix}{side}@{'train' if row == 'teacher' else known}" for side in sides} for known in both
        }
        names = tuple(n for n in config.backbones if registry.find("direct", n).Model.takes_texts)
        stages += fits(config, row, inputs, names)
    return stages


def _outcome(config: ReclmConfig) -> list[Stage]:
    inputs = dict(TABLES)
    for row in config.rows:
        names = ("popularity", *config.backbones) if row == "base" else config.backbones
        for name in dict.fromkeys(names):
            if row != "base" and not registry.find("direct", name).Model.takes_texts:
                continue
            inputs |= {f"fit/{name}/{row}/{seed}": f"seed{seed}/{row}/{name}" for seed in config.repetitions}
    code = (*DATA, "evaluation", f"{HERE}/evaluate.py", "backbones/scoring.py")
    settings = [list(config.rows), list(config.repetitions)]
    return [Stage("evaluate", partial(evaluate, config=config), inputs, settings, code), _bundle(config)]


def _bundle(config: ReclmConfig) -> Stage:
    row = "augment" if "augment" in config.rows else "base"
    first = f"seed{config.seed}/{row}"
    able = [n for n in config.backbones if registry.find("direct", n).Model.takes_texts]
    read = {**TABLES, "texts": "vectors/texts"}
    read |= {f"fit/{n}": f"{first}/{n}" for n in able} | {f"chosen/{n}": f"{first}/{n}@train" for n in able}
    if row == "augment":
        read |= {
            "users": "vectors/users@first",
            "items": "vectors/items@first",
            "llm/users": writer(config),
            "llm/items": "llm/items",
        }
    about = config.model_dump(mode="json", exclude={"data": {"dir"}})
    return Stage("bundle", partial(bundle, config=config, row=row), read, about, (*MODELS, f"{HERE}/bundle.py"))

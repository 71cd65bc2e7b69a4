"""The stages that tune the LLM: a teacher, then the LLM step by step.

llm/distil     the LLM imitates the teacher's profiles (R10)
llm/dialogue   two turns, with the loss on both responses, or one of the readings of Naive (R11 to
               R16, RO14)
llm/policy     reinforcement learning against a reward model (R18 to R21)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from raypipe.papers.reclm import dialogues, refresh, reward_pairs, teacher
from raypipe.papers.reclm.backbones import neighbours
from raypipe.papers.reclm.config import ReclmConfig, Side
from raypipe.papers.reclm.llm import build_base, reinforce, train_reward, tune
from raypipe.pipeline.stage import Stage
from raypipe.steps.completions import completions, endpoint_completions
from raypipe.tuning.config import TrainingConfig

TABLES = {"data": "data", "snapshots": "snapshots"}
NEIGHBOURS = {"neighbours": "neighbours"}
SFT = "Ray Train: TRL, DeepSpeed"
SIDES: tuple[Side, ...] = ("user", "item")

#: the backbone whose user embeddings decide which users are similar (R11)
GRAPH = "light_gcn"


class Writer(NamedTuple):
    """The LLMs that write the profiles of a row.

    Attributes:
        users, items: the stages of the LLMs for users, and for items.
        alone: its prompts show no similar users, as in distillation.
        suffix: what the names of the row's stages end with.
    """

    users: str
    items: str
    alone: bool
    suffix: str


def writer(config: ReclmConfig, row: str) -> Writer | None:
    """The LLMs that write a row's profiles; None if none does."""
    if config.llm.keep is not None:
        return None if row == "base" else Writer("llm/kept-users", "llm/kept-items", False, "")
    full = "llm/dialogue" if config.llm.policy.method == "none" else "llm/policy"
    if row in ("augment", "wo_user", "wo_item"):
        return Writer(full, "llm/items", False, "")
    if row == "mask":
        return Writer("llm/dialogue", "llm/items", False, "-mask")
    if row == "gpt_kd":
        return Writer("llm/distil", "llm/items", True, "-gpt_kd")
    if row == "untuned":
        return Writer("llm/base", "llm/base", True, "-untuned")
    if row.startswith("naive_"):
        return Writer(f"llm/{row}", "llm/items", False, f"-{row}")
    return None


def writers(config: ReclmConfig) -> list[Writer]:
    """The writers of all rows, each once; the one of the full method comes first."""
    different: set[Writer] = set()
    for row in config.rows:
        of_row = writer(config, row)
        if of_row is not None:
            different.add(of_row)
    return sorted(different, key=lambda each: each.suffix)


def needs_llm(config: ReclmConfig) -> bool:
    """Whether an LLM writes the profiles of any row."""
    return bool(writers(config))


def needs_teacher(config: ReclmConfig) -> bool:
    """Whether any row has profiles, and no bundle provides the LLMs that write them."""
    return config.llm.keep is None and bool(set(config.rows) - {"base"})


def wave_inputs(prompts: str, completions: str | None = None, suffix: str = "") -> dict[str, str]:
    """The inputs of a stage that reads answers: prompts and completions, by default of one name."""
    return {
        f"prompts{suffix}": f"prompts/{prompts}",
        f"completions{suffix}": f"completions/{completions or prompts}",
    }


def body_stage(
    config: ReclmConfig,
    name: str,
    body: Callable[..., dict[str, Any]],
    inputs: dict[str, str],
    settings: object,
) -> Stage:
    """A stage that runs in one worker and also reads the dataset and its snapshots."""
    return Stage(name, partial(body, config=config), {**TABLES, **inputs}, settings)


def tuning_stage(
    config: ReclmConfig,
    name: str,
    training: TrainingConfig,
    inputs: dict[str, str],
    loss: str = "responses",
) -> Stage:
    """A stage that tunes an LLM; inputs: `llm` and `examples`."""
    settings: list[Any] = [training.model_dump(), config.llm.adapter.model_dump(), loss]
    body = partial(tune, config=config, training=training, loss=loss)
    return Stage(name, body, inputs, [*settings, config.seed], "driver", SFT)


def llm_stages(config: ReclmConfig) -> list[Stage]:
    """The teacher, and every step of the LLM's tuning."""
    if config.llm.keep is not None:
        return _kept_stages(config, config.llm.keep)
    if not needs_teacher(config):
        return []
    stages = _teacher_stages(config)
    if not needs_llm(config):
        return stages
    stages.append(_neighbours_stage(config, neighbours, config.profiles.neighbours))
    stages.append(_base_stage(config))
    stages += _distillation_stages(config)
    stages += _dialogue_stages(config)
    if "llm/policy" in _user_llms(config):
        stages += _policy_stages(config)
    return stages


def _user_llms(config: ReclmConfig) -> set[str]:
    """The stages of the LLMs that write users' profiles."""
    return {each.users for each in writers(config)}


def _teacher_stages(config: ReclmConfig) -> list[Stage]:
    endpoint = config.teacher.endpoint
    settings = [
        config.teacher.model_dump(exclude={"endpoint"}),
        config.profiles.model_dump(),
        config.seed,
    ]
    stages = []
    for side in SIDES:
        inputs = {} if side == "user" else {"users": "teacher/users"}
        if endpoint is not None:
            wave = f"teacher-{side}s"
            body = partial(teacher.endpoint_prompts, side=side)
            stages.append(body_stage(config, f"prompts/{wave}", body, inputs, settings))
            stages.append(endpoint_completions(wave, endpoint, config.llm.engine))
            inputs = {**inputs, **wave_inputs(wave)}
        body = partial(teacher.teach, side=side)
        stages.append(body_stage(config, f"teacher/{side}s", body, inputs, settings))
    return stages


def _base_stage(config: ReclmConfig) -> Stage:
    """The LLM before tuning."""
    llm = config.llm
    settings: list[Any] = [llm.source, config.seed, config.profiles.model_dump()]
    if llm.source == "embedded":
        distil = llm.distil.model_dump(include={"max_length", "zero_stage", "workers"})
        settings += [llm.embedded.model_dump(), distil]
    inputs = {**TABLES, "users": "teacher/users", "items": "teacher/items"}
    body = partial(build_base, config=config)
    return Stage("llm/base", body, inputs, settings, "driver", "Ray Train: DeepSpeed")


def _distillation_stages(config: ReclmConfig) -> list[Stage]:
    """The distilled LLM, and the profiles that it writes."""
    settings = [config.profiles.model_dump(), config.seed]
    users = {"users": "teacher/users"}
    dialogue_settings = [*settings, config.llm.dialogue.dialogues]
    inputs = {"llm": "llm/base", "examples": "examples/distil"}
    return [
        body_stage(config, "examples/distil", dialogues.distillation, users, settings),
        tuning_stage(config, "llm/distil", config.llm.distil, inputs),
        body_stage(
            config,
            "prompts/distilled",
            dialogues.distilled_prompts,
            {**NEIGHBOURS, **users},
            dialogue_settings,
        ),
        completions("distilled", "distilled", "llm/distil", config.llm.engine),
    ]


def _dialogue_stages(config: ReclmConfig) -> list[Stage]:
    """The LLMs tuned on dialogues: with the configured loss, and with each reading of Naive."""
    dialogue = config.llm.dialogue
    settings = [config.profiles.model_dump(), config.seed, dialogue.dialogues]
    inputs = {**NEIGHBOURS, **wave_inputs("distilled")}
    stages = [
        body_stage(config, "examples/dialogues", dialogues.dialogues, inputs, settings),
    ]
    inputs = {"llm": "llm/distil", "examples": "examples/dialogues"}
    if _user_llms(config) & {"llm/dialogue", "llm/policy"}:
        stages.append(tuning_stage(config, "llm/dialogue", dialogue, inputs, dialogue.loss))
    for row in config.rows:
        if row.startswith("naive_"):
            loss = row.removeprefix("naive_")
            stages.append(tuning_stage(config, f"llm/{row}", dialogue, inputs, loss))
    return stages


def _policy_stages(config: ReclmConfig) -> list[Stage]:
    """The reward model, its accuracy, and reinforcement learning."""
    llm, seed = config.llm, config.seed
    adapter = llm.adapter.model_dump()
    pair_settings = [
        config.profiles.model_dump(),
        seed,
        llm.reward.pairs,
        llm.policy.episodes,
    ]
    pair_inputs = {**NEIGHBOURS, "users": "teacher/users", **wave_inputs("distilled")}
    preferences = {"preferences": "preferences"}
    judged = {"reward": "reward", **preferences}
    return [
        body_stage(config, "preferences", reward_pairs.preferences, pair_inputs, pair_settings),
        Stage(
            "reward",
            partial(train_reward, config=config),
            {**TABLES, "llm": "llm/distil", **preferences},
            [llm.reward.model_dump(exclude={"pairs"}), adapter, seed],
            "driver",
            SFT,
        ),
        Stage(
            "reward-accuracy",
            partial(reward_pairs.reward_accuracy, config=config),
            {**TABLES, **judged},
            None,
            "driver",
        ),
        Stage(
            "llm/policy",
            partial(reinforce, config=config),
            {**TABLES, **judged, "llm": "llm/dialogue"},
            [llm.policy.model_dump(), adapter, seed],
            "driver",
            f"Ray Train: TRL, {llm.policy.method.upper()}",
        ),
    ]


def _neighbours_stage(
    config: ReclmConfig, body: Callable[..., dict[str, Any]], settings: object
) -> Stage:
    """Which users are similar, by a graph model of the training part."""
    inputs = {"model": f"seed{config.seed}/base/{GRAPH}@train", "texts": "vectors/texts"}
    return body_stage(config, "neighbours", partial(body, name=GRAPH), inputs, settings)


def _kept_stages(config: ReclmConfig, folder: str) -> list[Stage]:
    """Instead of tuning: the LLMs of a bundle, and its similar users where histories are equal."""
    if not needs_llm(config):
        return []
    contents = refresh.bundle_contents(folder)
    settings = [config.profiles.neighbours, contents]
    stages = [_neighbours_stage(config, refresh.neighbours, settings)]
    for side in SIDES:
        body = partial(refresh.kept_llm, config=config, side=side)
        stages.append(Stage(f"llm/kept-{side}s", body, {}, contents))
    return stages

"""The stages that write profiles of users, then of items, and encode them."""

from __future__ import annotations

from functools import partial

from raypipe.papers.reclm import dialogues, profiles
from raypipe.papers.reclm.config import ReclmConfig, Side
from raypipe.papers.reclm.histories import AS_OF, AsOf
from raypipe.papers.reclm.llm_stages import (
    NEIGHBOURS,
    SIDES,
    TABLES,
    Writer,
    body_stage,
    needs_llm,
    needs_teacher,
    tuning_stage,
    wave_inputs,
    writers,
)
from raypipe.pipeline.stage import Stage
from raypipe.steps.completions import completions

#: users whose profiles are also written before reinforcement learning, with those of the nearest
#: user of each
SAMPLE = 500


def profile_stages(config: ReclmConfig) -> list[Stage]:
    """Profiles of users, then of items with users, then of cold-start items; and their vectors."""
    stages: list[Stage] = []
    if "teacher" in config.rows and needs_teacher(config):
        for side in SIDES:
            inputs = {"taught": f"teacher/{side}s"}
            stages.append(_vectors_stage(config, f"teacher-{side}s", side, inputs, "train"))
    if not needs_llm(config):
        return stages
    all_writers = writers(config)
    for alone in sorted({each.alone for each in all_writers}):
        body = partial(profiles.user_prompts, alone=alone)
        settings = [*_prompt_settings(config), alone]
        name = f"prompts/{_user_wave(alone)}"
        stages.append(body_stage(config, name, body, NEIGHBOURS, settings))
    for number, each in enumerate(all_writers):
        wave = _user_wave(each.alone)
        engine = config.llm.engine
        stages.append(completions(f"users{each.suffix}", wave, each.users, engine))
        if number == 0 and config.llm.keep is None:
            stages += _item_tuning_stages(config, each)
        stages += _item_stages(config, each)
    if any(each.users == "llm/policy" for each in all_writers):
        stages += _sample_stages(config)
    return stages


def _prompt_settings(config: ReclmConfig) -> list[object]:
    """The settings that decide a prompt."""
    return [config.profiles.model_dump(), config.seed]


def _user_wave(alone: bool) -> str:
    """The prompts about users, with similar users or without."""
    return "users-alone" if alone else "users"


def _user_answers(each: Writer) -> dict[str, str]:
    """The inputs of a stage that reads a writer's profiles of users."""
    return wave_inputs(_user_wave(each.alone), f"users{each.suffix}")


def _vectors_stage(
    config: ReclmConfig, name: str, side: Side, inputs: dict[str, str], as_of: AsOf
) -> Stage:
    body = partial(profiles.profile_vectors, config=config, side=side, as_of=as_of)
    settings = [*_prompt_settings(config), config.encoder.model_dump(exclude={"batch_size"})]
    return Stage(f"vectors/{name}@{as_of}", body, {**TABLES, **inputs}, settings, "driver")


def _item_tuning_stages(config: ReclmConfig, each: Writer) -> list[Stage]:
    """The LLM that writes profiles of items, tuned with the profiles of users."""
    inputs = {
        "users": "teacher/users",
        "items": "teacher/items",
        "texts": "vectors/texts",
        **_user_answers(each),
    }
    return [
        body_stage(
            config, "examples/items", dialogues.item_examples, inputs, _prompt_settings(config)
        ),
        tuning_stage(
            config,
            "llm/items",
            config.llm.items,
            {"llm": "llm/distil", "examples": "examples/items"},
        ),
    ]


def _item_stages(config: ReclmConfig, each: Writer) -> list[Stage]:
    """A writer's profiles of items, and the vectors of all its profiles."""
    settings = _prompt_settings(config)
    warm, cold = f"items-warm{each.suffix}", f"items-cold{each.suffix}"
    users = _user_answers(each)
    cold_inputs = {"texts": "vectors/texts", **wave_inputs(warm)}
    stages = [
        body_stage(config, f"prompts/{warm}", profiles.warm_prompts, users, settings),
        completions(warm, warm, each.items, config.llm.engine),
        body_stage(config, f"prompts/{cold}", profiles.cold_prompts, cold_inputs, settings),
        completions(cold, cold, each.items, config.llm.engine),
    ]
    items = {**wave_inputs(warm, suffix="-warm"), **wave_inputs(cold, suffix="-cold")}
    for as_of in AS_OF:
        stages.append(_vectors_stage(config, f"users{each.suffix}", "user", users, as_of))
        stages.append(_vectors_stage(config, f"items{each.suffix}", "item", items, as_of))
    return stages


def _sample_stages(config: ReclmConfig) -> list[Stage]:
    """Profiles of a sample of users before reinforcement learning, to compare with later ones."""
    settings = _prompt_settings(config)
    encoder = config.encoder.model_dump(exclude={"batch_size"})
    inputs = {
        **NEIGHBOURS,
        "prompts": "prompts/sample",
        "before": "vectors/sample",
        "after": "vectors/users@train",
    }
    return [
        body_stage(
            config,
            "prompts/sample",
            partial(profiles.user_prompts, sample=SAMPLE),
            NEIGHBOURS,
            [*settings, SAMPLE, config.case],
        ),
        completions("sample", "sample", "llm/dialogue", config.llm.engine),
        Stage(
            "vectors/sample",
            partial(profiles.sample_vectors, config=config),
            {**TABLES, **wave_inputs("sample")},
            [*settings, encoder],
            "driver",
        ),
        body_stage(config, "smoothing", profiles.smoothing, inputs, settings),
    ]

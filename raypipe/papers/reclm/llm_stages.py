"""The stages of the LLM: a teacher, the education in its steps, and the profiles that each row of the tables is about.

distil     the LLM imitates the teacher's profiles (R10)
dialogue   two turns, with loss on both responses, or one of the readings of Naive (R11 to R16, RO14)
policy     reinforcement learning against a reward model (R18 to R21)
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from raypipe.papers.reclm import dialogues, profiles, refresh, reward_pairs, teacher
from raypipe.papers.reclm.backbones import neighbours
from raypipe.papers.reclm.config import ReclmConfig
from raypipe.papers.reclm.histories import Known
from raypipe.papers.reclm.llm import build_base, reinforce, train_reward, tune
from raypipe.pipeline.stage import Stage
from raypipe.steps.completions import completions, completions_at

TABLES = {"data": "data", "snapshots": "snapshots"}

#: the backbone whose users' embeddings tell who is similar (R11)
GRAPH = "light_gcn"

#: users whose profiles, and those of the nearest user of each, are written before reinforcement learning, too
SAMPLE = 500


class Writer(NamedTuple):
    """Who writes the profiles of a row.

    Attributes:
        users, items: stages of the LLMs.
        alone: its prompts are those of distillation, without similar users: it never read others.
        suffix: of the names of the row's stages.
    """

    users: str
    items: str
    alone: bool
    suffix: str


def writer(config: ReclmConfig, row: str) -> Writer | None:
    """Who writes a row's profiles; None where no LLM does."""
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
    """The writers of all rows, each once, that of the full method first."""
    made = [writer(config, row) for row in reversed(config.rows)]
    return sorted({w for w in made if w is not None}, key=lambda w: w.suffix)


def needs_llm(config: ReclmConfig) -> bool:
    """Whether any row has profiles that the LLM writes."""
    return bool(writers(config))


def needs_teacher(config: ReclmConfig) -> bool:
    """Whether any row has profiles, and no bundle's LLMs are there to write them."""
    return config.llm.keep is None and bool(set(config.rows) - {"base"})


def _teacher(config: ReclmConfig) -> list[Stage]:
    own = config.teacher
    asked = [own.model_dump(exclude={"endpoint"}), config.profiles.model_dump(), config.seed]
    stages = []
    for side in ("users", "items"):
        read = dict(TABLES) if side == "users" else {**TABLES, "users": "teacher/users"}
        if own.endpoint is not None:
            at = f"teacher-{side}"
            body = partial(teacher.endpoint_prompts, config=config, side=side)
            stages.append(Stage(f"prompts/{at}", body, dict(read), asked))
            stages.append(completions_at(at, own.endpoint, config.llm.engine))
            read |= {"prompts": f"prompts/{at}", "completions": f"completions/{at}"}
        body = partial(teacher.teach, config=config, side=side)
        stages.append(Stage(f"teacher/{side}", body, read, asked))
    return stages


def _said(name: str, suffix: str = "") -> dict[str, str]:
    return {f"prompts{suffix}": f"prompts/{name}", f"completions{suffix}": f"completions/{name}"}


def llm_stages(config: ReclmConfig) -> list[Stage]:
    """The teacher, and the LLM in every step of its education."""
    if config.llm.keep is not None:
        return _kept(config, config.llm.keep)
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

    def stage(
        name: str,
        body: Any,
        inputs: dict[str, str],
        settings: Any,
        place: Any = "worker",
        crew: str = "1 CPU",
    ) -> None:
        stages.append(
            Stage(name, partial(body, config=config), {**TABLES, **inputs}, settings, place, crew)
        )

    def tuned(name: str, own: Any, start: str, examples: str, loss: str = "responses") -> None:
        body = partial(tune, own=own, loss=loss)
        about = [own.model_dump(), llm.adapter.model_dump(), loss, seed]
        stages.append(
            Stage(
                name,
                partial(body, config=config),
                {"llm": start, "examples": examples},
                about,
                "driver",
                sft,
            )
        )

    stages.append(_neighbours(config, neighbours, config.profiles.neighbours))
    base = [llm.source, seed, config.profiles.model_dump()]
    if llm.source == "embedded":
        base += [
            llm.embedded.model_dump(),
            llm.distil.model_dump(include={"max_length", "zero_stage", "workers"}),
        ]
    stage("llm/base", build_base, taught, base, "driver", "Ray Train: DeepSpeed")
    stage("examples/distil", dialogues.distillation, {"users": "teacher/users"}, wording)
    tuned("llm/distil", llm.distil, "llm/base", "examples/distil")
    drawn = [*wording, llm.dialogue.dialogues]
    stage(
        "prompts/distilled", dialogues.distilled_prompts, {**near, "users": "teacher/users"}, drawn
    )
    stages.append(completions("distilled", "distilled", "llm/distil", config.llm.engine))
    stage("examples/dialogues", dialogues.dialogues, {**near, **_said("distilled")}, drawn)
    wanted = {own.users for own in writers(config)}
    if wanted & {"llm/dialogue", "llm/policy"}:
        tuned("llm/dialogue", llm.dialogue, "llm/distil", "examples/dialogues", llm.dialogue.loss)
    for row in config.rows:
        if row.startswith("naive_"):
            tuned(
                f"llm/{row}",
                llm.dialogue,
                "llm/distil",
                "examples/dialogues",
                row.removeprefix("naive_"),
            )
    if "llm/policy" in wanted:
        drawn = [*wording, llm.reward.pairs, llm.policy.episodes]
        read = {**near, "users": "teacher/users", **_said("distilled")}
        stage("preferences", reward_pairs.preferences, read, drawn)
        about = [llm.reward.model_dump(exclude={"pairs"}), llm.adapter.model_dump(), seed]
        stage(
            "reward",
            train_reward,
            {"llm": "llm/distil", "preferences": "preferences"},
            about,
            "driver",
            sft,
        )
        read = {"reward": "reward", "preferences": "preferences"}
        stage("reward-accuracy", reward_pairs.judged, read, None, "driver")
        about = [llm.policy.model_dump(), llm.adapter.model_dump(), seed]
        read |= {"llm": "llm/dialogue"}
        stage(
            "llm/policy",
            reinforce,
            read,
            about,
            "driver",
            f"Ray Train: TRL, {llm.policy.method.upper()}",
        )
    return stages


def _neighbours(config: ReclmConfig, body: Any, settings: Any) -> Stage:
    inputs = {**TABLES, "model": f"seed{config.seed}/base/{GRAPH}@train", "texts": "vectors/texts"}
    return Stage("neighbours", partial(body, config=config, name=GRAPH), inputs, settings)


def _kept(config: ReclmConfig, folder: str) -> list[Stage]:
    """In place of an education: the LLMs of a bundle, and the similar users of who did nothing since."""
    if not needs_llm(config):
        return []
    known = refresh.kept(folder)
    stages = [_neighbours(config, refresh.neighbours, [config.profiles.neighbours, known])]
    for side in ("users", "items"):
        stages.append(
            Stage(
                f"llm/kept-{side}", partial(refresh.kept_llm, config=config, side=side), {}, known
            )
        )
    return stages


def profile_stages(config: ReclmConfig) -> list[Stage]:
    """Profiles of users, then of items, warm and cold; and their vectors."""
    if not needs_teacher(config) and not needs_llm(config):
        return []
    wording = [config.profiles.model_dump(), config.seed]
    encoder = config.encoder.model_dump(exclude={"batch_size"})
    stages: list[Stage] = []

    def stage(
        name: str, body: Any, inputs: dict[str, str], settings: Any, place: Any = "worker"
    ) -> None:
        stages.append(
            Stage(name, partial(body, config=config), {**TABLES, **inputs}, settings, place)
        )

    def vectors(name: str, side: str, inputs: dict[str, str], known: Known) -> None:
        body = partial(profiles.profile_vectors, side=side, known=known)
        stage(f"vectors/{name}@{known}", body, inputs, [*wording, encoder], "driver")

    if "teacher" in config.rows:
        for side in ("users", "items"):
            vectors(f"teacher-{side}", side, {"taught": f"teacher/{side}"}, "train")
    if not needs_llm(config):
        return stages
    both: tuple[Known, ...] = ("train", "first")
    near = {"neighbours": "neighbours"}
    made = writers(config)
    for alone in sorted({own.alone for own in made}):
        stage(
            f"prompts/users{'-alone' if alone else ''}",
            partial(profiles.user_prompts, alone=alone),
            near,
            [*wording, alone],
        )
    for number, own in enumerate(made):
        at = own.suffix
        asked = "users-alone" if own.alone else "users"
        stages.append(completions(f"users{at}", asked, own.users, config.llm.engine))
        said = {"prompts": f"prompts/{asked}", "completions": f"completions/users{at}"}
        if number == 0 and config.llm.keep is None:
            read = {
                "users": "teacher/users",
                "items": "teacher/items",
                "texts": "vectors/texts",
                **said,
            }
            stage("examples/items", dialogues.item_examples, read, wording)
            body = partial(tune, config=config, own=config.llm.items)
            about = [config.llm.items.model_dump(), config.llm.adapter.model_dump(), config.seed]
            inputs = {"llm": "llm/distil", "examples": "examples/items"}
            stages.append(
                Stage("llm/items", body, inputs, about, "driver", "Ray Train: TRL, DeepSpeed")
            )
        stage(f"prompts/items-warm{at}", profiles.warm_prompts, said, wording)
        stages.append(
            completions(f"items-warm{at}", f"items-warm{at}", own.items, config.llm.engine)
        )
        read = {"texts": "vectors/texts", **_said(f"items-warm{at}")}
        stage(f"prompts/items-cold{at}", profiles.cold_prompts, read, wording)
        stages.append(
            completions(f"items-cold{at}", f"items-cold{at}", own.items, config.llm.engine)
        )
        for known in both:
            vectors(f"users{at}", "users", said, known)
            vectors(
                f"items{at}",
                "items",
                {**_said(f"items-warm{at}", "-warm"), **_said(f"items-cold{at}", "-cold")},
                known,
            )
    if any(own.users == "llm/policy" for own in made):
        stage(
            "prompts/sample",
            partial(profiles.user_prompts, only=SAMPLE),
            near,
            [*wording, SAMPLE, config.case],
        )
        stages.append(completions("sample", "sample", "llm/dialogue", config.llm.engine))
        stage(
            "vectors/sample",
            profiles.sample_vectors,
            _said("sample"),
            [*wording, encoder],
            "driver",
        )
        read = {
            **near,
            "prompts": "prompts/sample",
            "before": "vectors/sample",
            "after": "vectors/users@train",
        }
        stage("smoothing", profiles.smoothing, read, wording)
    return stages

"""The prompts of RecLM as tables, and their answers as profiles.

What a prompt is about stands in columns beside it: `user_id` or `item_id`, `as_of` (what the
profile may know, train or first) and `dialogue` (the number of a dialogue). A column that does not
apply is empty, or -1.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import pandas as pd

from raypipe.cluster import ray_data
from raypipe.papers.reclm.config import ProfileConfig, Side
from raypipe.papers.reclm.histories import AS_OF, AsOf
from raypipe.pipeline.stage import Context
from raypipe.prompts.contract import Completion, Rejected, Rendered
from raypipe.prompts.profiles import Profile
from raypipe.prompts.templates import item_profile, user_profile
from raypipe.schema import ITEM, PROMPTS, USER
from raypipe.steps.completions import answers

AS_OF_COLUMN, DIALOGUE, PROFILE = "as_of", "dialogue", "profile"
#: dialogue number of a prompt that belongs to no dialogue
NO_DIALOGUE = -1
ID_COLUMN: dict[Side, str] = {"user": USER, "item": ITEM}


class Identity(NamedTuple):
    """What a prompt is about; each field is a column."""

    user_id: str = ""
    item_id: str = ""
    as_of: str = ""
    dialogue: int = NO_DIALOGUE


IDENTITY = list(Identity._fields)


@dataclass
class PromptTable:
    """Prompts that a stage collects and then writes.

    Args:
        template: the name of their template, a column of the table.
        wave: what their ids begin with where `as_of` is empty.
    """

    template: str
    wave: str = ""
    rows: list[dict[str, object]] = field(default_factory=list)

    def add(self, rendered: Rendered, identity: Identity) -> None:
        """Add a prompt; the identity makes its id, which must be unique in the table."""
        if identity.dialogue != NO_DIALOGUE:
            prompt_id = f"dialogue/{identity.dialogue:06d}"
        else:
            prompt_id = f"{identity.as_of or self.wave}/{identity.user_id or identity.item_id}"
        self.rows.append(
            {
                "prompt_id": prompt_id,
                "template": self.template,
                "prompt": rendered.text,
                "mode": rendered.mode,
                "pattern": rendered.pattern,
                "options": list(rendered.options),
                "payload": list(rendered.payload),
                **identity._asdict(),
            }
        )

    def write(self, ctx: Context) -> None:
        """Write prompts/, in files as small as the pieces in which answers are kept."""
        (ctx.out / "prompts").mkdir(exist_ok=True)
        frame = pd.DataFrame(self.rows, columns=[*PROMPTS.columns, *IDENTITY])
        ray_data.write_blocks(
            frame,
            lambda piece: PROMPTS.from_frame(piece, ctx.name),
            str(ctx.out / "prompts"),
            f"{self.template}-",
        )


def read_answers(ctx: Context, suffix: str = "") -> pd.DataFrame:
    """The prompts of an input `prompts` with their answers of `completions`, one row per prompt."""
    table = answers(ctx, f"prompts{suffix}", f"completions{suffix}")
    return table if len(table) else table.reindex(columns=[*table.columns, *IDENTITY])


def read_prompts(ctx: Context) -> pd.DataFrame:
    """The prompts of the input `prompts`."""
    return ray_data.read_finished(str(ctx.input("prompts") / "prompts"))


def parse_profile(answer: str, side: Side, config: ProfileConfig) -> Profile | Rejected:
    """The profile in an LLM's answer about a user or an item, or why it is rejected."""
    template = user_profile if side == "user" else item_profile
    return template.parse(Completion(answer, ()), config.form(side))


def read_profiles(
    ctx: Context, side: Side, config: ProfileConfig, suffix: str = ""
) -> tuple[pd.DataFrame, Counter[str]]:
    """The profiles of the inputs `prompts` and `completions`.

    Args:
        side: whom they are about.
        suffix: a suffix of both inputs' names.

    Returns:
        The identity columns of the prompts and `profile`, one row per accepted answer, in the order
        of the prompts; and how many answers were rejected, by kind.
    """
    table = read_answers(ctx, suffix)
    rejected: Counter[str] = Counter()
    accepted, profiles = [], []
    for row, answer in enumerate(table["answer"]):
        result = parse_profile(answer, side, config)
        if isinstance(result, Rejected):
            rejected[result.kind] += 1
        else:
            accepted.append(row)
            profiles.append(result.text)
    frame = table.iloc[accepted][IDENTITY]
    return frame.assign(profile=profiles).reset_index(drop=True), rejected


def profiles_as_of(
    profiles: pd.DataFrame, as_of: AsOf, side: Side, index: pd.Index
) -> dict[int, str]:
    """Row number of a user or item -> the newest profile that knows no more than `as_of` allows.

    Args:
        index: ids in the order of the row numbers.
    """
    newest: dict[int, str] = {}
    for moment in AS_OF[: AS_OF.index(as_of) + 1]:
        rows = profiles[profiles[AS_OF_COLUMN] == moment]
        numbers = index.get_indexer(rows[ID_COLUMN[side]])
        newest.update(zip(numbers.tolist(), rows[PROFILE], strict=True))
    return newest


def by_column(profiles: pd.DataFrame, column: str) -> dict[object, str]:
    """Value of an identity column -> profile."""
    return dict(zip(profiles[column].tolist(), profiles[PROFILE], strict=True))

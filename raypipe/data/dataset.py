"""A dataset on disk: cleaned interactions, items and users, and the facts about them.

Each cleaning rule is counted in `Dataset.quality` and shown in the report:
  repeated (user, item) rows        the latest is kept, or the earliest (`data.repeated`); for equal
                                    timestamps the order of the file decides
  users below min_interactions      left out (leave-one-out needs three interactions)
  items missing in the items table  they get the title "Unknown item ID"
  delimiters in titles              double quotes become single ones, line breaks and tabs spaces
  equal titles                      the second and later ones get a number, "Title [2]"
  overlong titles                   cut at 120 characters
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from raypipe import plugins
from raypipe.config import Config, validate
from raypipe.data import sources
from raypipe.data.config import SourceConfig
from raypipe.data.frames import Frames, normalize
from raypipe.errors import DataError
from raypipe.schema import INTERACTIONS, ITEM, ITEMS, RATING, TEXT, TIME, TITLE, USER, USERS

TITLE_LENGTH = 120
#: fields of a dataset that are saved as JSON
FACTS = ("noun", "verb", "item_features", "user_features", "quality", "published_as")


@dataclass(frozen=True)
class Attribute:
    """Side information that the LLM fills in (L10 to L12).

    Args:
        name: column name, e.g. "director". Values in the items table are kept.
        examples: title -> value: worked examples for the prompt, beside those from the data.
    """

    name: str
    examples: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RawDataset:
    """The tables that a source reads, before cleaning.

    Args:
        interactions, items, users: tables by the contracts of `raypipe.schema`; interactions are in
            file order.
        noun: what an item is called in prompts, e.g. "film".
        verb: what the user did, e.g. "watched".
        item_features, user_features: columns of items and users, all categorical.
        attributes: columns of items that the LLM fills in.
        published_as: the dataset's name in the papers' tables.
    """

    interactions: pa.Table
    items: pa.Table
    users: pa.Table
    noun: str
    verb: str
    item_features: tuple[str, ...] = ()
    user_features: tuple[str, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    published_as: str = ""


class Source(Protocol):
    """A dataset file in sources/: its options and how to read it."""

    Options: type[Config]

    @staticmethod
    def read(folder: Path | None, options: Config) -> RawDataset: ...


@dataclass(frozen=True)
class Dataset:
    """A dataset.

    What `read` returns is cleaned: its frames are sorted by user, then time, then file order. What
    `from_frames` returns is not cleaned yet: a run does that, and counts each rule in its report.
    """

    interactions: pd.DataFrame
    items: pd.DataFrame
    users: pd.DataFrame
    noun: str
    verb: str
    item_features: tuple[str, ...]
    user_features: tuple[str, ...]
    attributes: tuple[Attribute, ...]
    quality: dict[str, int]
    published_as: str = ""

    def save(self, folder: Path) -> None:
        for contract in (INTERACTIONS, ITEMS, USERS):
            pq.write_table(
                contract.from_frame(getattr(self, contract.name), "the cleaned dataset"),
                folder / f"{contract.name}.parquet",
            )
        facts = {name: getattr(self, name) for name in FACTS}
        facts["attributes"] = list(map(asdict, self.attributes))
        (folder / "dataset.json").write_text(json.dumps(facts, indent=1))

    @classmethod
    def load(cls, folder: Path) -> Dataset:
        facts = json.loads((folder / "dataset.json").read_text())
        frames = {
            contract.name: pq.read_table(folder / f"{contract.name}.parquet").to_pandas()
            for contract in (INTERACTIONS, ITEMS, USERS)
        }
        return cls(
            **frames,
            noun=facts["noun"],
            verb=facts["verb"],
            item_features=tuple(facts["item_features"]),
            user_features=tuple(facts["user_features"]),
            attributes=tuple(Attribute(**a) for a in facts["attributes"]),
            quality=facts["quality"],
            published_as=facts["published_as"],
        )

    @classmethod
    def from_frames(
        cls,
        interactions: pd.DataFrame,
        items: pd.DataFrame,
        users: pd.DataFrame | None = None,
        noun: str = "item",
        verb: str = "chose",
        attributes: Sequence[str] = (),
    ) -> Dataset:
        """A dataset from frames in memory, for `raypipe.run(..., data=...)`.

        Args:
            interactions: user_id, item_id; optional rating (else 1) and timestamp, in seconds or as
                dates (else the order of the rows).
            items: item_id, title; optional text. Further columns become item features.
            users: user_id. Further columns become user features.
            noun: what an item is called in prompts, e.g. "film".
            verb: what the user did, e.g. "watched".
            attributes: columns of the items that the LLM fills where they are empty.

        Raises:
            DataError: a column is missing, has empty values, or is not a number.
        """
        frames = normalize(interactions, items, users, attributes)
        required = {ITEM, TITLE, TEXT, *attributes}
        return cls(
            *frames,
            noun=noun,
            verb=verb,
            item_features=tuple(name for name in frames.items if name not in required),
            user_features=tuple(frames.users.columns.drop(USER)),
            attributes=tuple(Attribute(name) for name in attributes),
            quality={},
        )

    def to_folder(self, folder: Path) -> dict[str, Any]:
        """Write CSV files for the source `folder`; return the `data` settings that read them."""
        Frames(self.interactions, self.items, self.users).write(folder)
        names = [attribute.name for attribute in self.attributes]
        options = {"noun": self.noun, "verb": self.verb, "attributes": names}
        return {"name": "folder", "dir": str(folder.resolve()), "options": options}

    @property
    def titles(self) -> dict[str, str]:
        """item_id -> title, in catalogue order."""
        return dict(zip(self.items[ITEM], self.items[TITLE], strict=True))


def source_options(config: SourceConfig) -> Config:
    """The options of the configured source.

    Raises:
        ConfigError: unknown source or option.
    """
    module = plugins.find(sources, config.name, "dataset")
    return validate(module.Options, config.options, f"data.options of the dataset {config.name}")


def true_attributes(config: SourceConfig) -> dict[str, dict[str, str]]:
    """attribute -> item_id -> true value, for evaluation only.

    Empty for a source without a function `truth`.
    """
    module = plugins.find(sources, config.name, "dataset")
    return module.truth(source_options(config)) if hasattr(module, "truth") else {}


def read(config: SourceConfig) -> Dataset:
    """Read the configured source and clean it.

    Raises:
        ConfigError: unknown dataset or option.
        DataError: the files have a fault; the error names file, line and column.
    """
    options = source_options(config)
    module = plugins.find(sources, config.name, "dataset")
    return clean(module.read(Path(config.dir) if config.dir else None, options), config)


def clean_title(title: str) -> str:
    """A title that cannot be confused with a prompt's delimiters.

    It has no double quotes, no line breaks and no space around it.
    """
    return " ".join(title.replace('"', "'").split())[:TITLE_LENGTH].rstrip()


def clean(raw: RawDataset, config: SourceConfig) -> Dataset:
    """Apply the cleaning rules of this file's docstring, and count each.

    Raises:
        DataError: a table breaks its contract, or no user has enough interactions.
    """
    where = f"dataset {config.name}"
    log, quality = _clean_log(raw.interactions, config, where)
    items = _clean_items(ITEMS.check(raw.items, where).to_pandas(), set(log[ITEM]), quality)
    users = USERS.check(raw.users, where).to_pandas()
    users = pd.DataFrame({USER: log[USER].unique()}).merge(users, on=USER, how="left")
    return Dataset(
        log[[USER, ITEM, RATING, TIME]].reset_index(drop=True),
        items.reset_index(drop=True),
        users.fillna(dict.fromkeys(users.columns, "")),
        raw.noun,
        raw.verb,
        raw.item_features,
        raw.user_features,
        raw.attributes,
        quality,
        raw.published_as,
    )


def _clean_log(
    interactions: pa.Table, config: SourceConfig, where: str
) -> tuple[pd.DataFrame, dict[str, int]]:
    """The log without repeated pairs and short histories, and the counts of what was dropped."""
    contract = replace(INTERACTIONS, key=())  # repeated pairs are dropped below
    log = contract.check(interactions, where).to_pandas()
    quality = {"rows read": len(log)}
    log["_line"] = range(len(log))
    log = log.sort_values([USER, TIME, "_line"], kind="stable")
    kept = log.drop_duplicates([USER, ITEM], keep=config.repeated)
    quality["repeated user-item rows dropped"] = len(log) - len(kept)
    sizes = kept.groupby(USER)[ITEM].transform("size")
    log = kept[sizes >= config.min_interactions]
    quality["users dropped with too few interactions"] = kept[USER].nunique() - log[USER].nunique()
    quality["rows dropped with them"] = len(kept) - len(log)
    if log.empty:
        raise DataError(
            f"no user has {config.min_interactions} or more interactions",
            where,
            "lower data.min_interactions or add data",
        )
    return log, quality


def _clean_items(items: pd.DataFrame, item_ids: set[str], quality: dict[str, int]) -> pd.DataFrame:
    """The items table with a row for every item and with clean, distinct titles; adds counts."""
    absent = sorted(item_ids - set(items[ITEM]))
    quality["items without a row in the items table"] = len(absent)
    if absent:
        titles = [f"Unknown item {item}" for item in absent]
        filler = pd.DataFrame({ITEM: absent, TITLE: titles, TEXT: ""})
        items = pd.concat([items, filler], ignore_index=True)
        items = items.fillna(dict.fromkeys(items.columns, ""))
    titles = items[TITLE].map(clean_title)
    quality["titles with delimiters, line breaks or overlength corrected"] = int(
        (titles != items[TITLE]).sum()
    )
    number = titles.groupby(titles).cumcount()
    quality["equal titles numbered"] = int((number > 0).sum())
    items[TITLE] = titles.where(number == 0, titles + " [" + (number + 1).astype(str) + "]")
    quality["items without text"] = int((items[TEXT].str.strip() == "").sum())
    return items

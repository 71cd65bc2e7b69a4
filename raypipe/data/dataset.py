"""A dataset on disk: cleaned interactions, items and users, and the facts about them.

The rules of cleaning, each counted in `Dataset.quality` and shown in the report:
  repeated (user, item) rows        the latest stays, or the earliest (`data.repeated`; file order breaks equal timestamps)
  users below min_interactions      left out (leave-one-out needs three interactions)
  items without a row in the items  they get the title "Unknown item ID"
  delimiters in titles              double quotes become single ones, line breaks and tabs become spaces
  equal titles                      the second and later ones get a number, "Title [2]"
  overlong titles                   cut at 120 characters
"""

from __future__ import annotations

import json
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
from raypipe.errors import DataError
from raypipe.schema import INTERACTIONS, ITEM, ITEMS, RATING, TEXT, TIME, TITLE, USER, USERS

TITLE_LENGTH = 120


@dataclass(frozen=True)
class Attribute:
    """Side information that the LLM fills in (L10 to L12).

    Args:
        name: column name, e.g. "director"; values that the items table has already are kept.
        examples: title -> value, worked examples for items whose value the data does not hold.
    """

    name: str
    examples: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RawDataset:
    """What a source reads. Feature names are columns of items and users; all are categorical.

    Args:
        interactions, items, users: tables by the contracts of `raypipe.schema`; interactions in file order.
        noun: what an item is called in prompts, e.g. "film".
        verb: what the user did, e.g. "watched".
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
    def read(folder: Path | None, options: Any) -> RawDataset: ...


@dataclass(frozen=True)
class Dataset:
    """A cleaned dataset; frames are sorted by user, then time, then file order."""

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
        facts = {
            k: getattr(self, k)
            for k in ("noun", "verb", "item_features", "user_features", "quality", "published_as")
        }
        facts["attributes"] = [asdict(a) for a in self.attributes]
        (folder / "dataset.json").write_text(json.dumps(facts, indent=1))

    @classmethod
    def load(cls, folder: Path) -> Dataset:
        facts = json.loads((folder / "dataset.json").read_text())
        frames = {
            n: pq.read_table(folder / f"{n}.parquet").to_pandas()
            for n in ("interactions", "items", "users")
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

    @property
    def titles(self) -> dict[str, str]:
        """item_id -> title, in catalogue order."""
        return dict(zip(self.items[ITEM], self.items[TITLE], strict=True))


def source_options(config: SourceConfig) -> Config:
    """The checked options of the configured source; raises ConfigError for an unknown source or option."""
    module = plugins.find(sources, config.name, "dataset")
    return validate(module.Options, config.options, f"data.options of the dataset {config.name}")


def true_attributes(config: SourceConfig) -> dict[str, dict[str, str]]:
    """attribute -> item_id -> true value, of a source that knows more than it shows (its function `truth`); for judging alone."""
    module = plugins.find(sources, config.name, "dataset")
    return module.truth(source_options(config)) if hasattr(module, "truth") else {}


def read(config: SourceConfig) -> Dataset:
    """Read the configured source and clean it.

    Raises:
        ConfigError: unknown dataset or option. DataError: what is wrong in the files, with file, line and column.
    """
    options = source_options(config)
    module = plugins.find(sources, config.name, "dataset")
    return clean(module.read(Path(config.dir) if config.dir else None, options), config)


def clean_title(title: str) -> str:
    """A title that cannot be mistaken for the prompt's own marks: no double quotes, line breaks, or outer space."""
    return " ".join(title.replace('"', "'").split())[:TITLE_LENGTH].rstrip()


def clean(raw: RawDataset, config: SourceConfig) -> Dataset:
    """Apply the rules in the head of this file and count each."""
    where = f"dataset {config.name}"
    log = (
        replace(INTERACTIONS, key=()).check(raw.interactions, where).to_pandas()
    )  # repeated pairs are a rule below
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
    items = ITEMS.check(raw.items, where).to_pandas()
    absent = sorted(set(log[ITEM]) - set(items[ITEM]))
    quality["items without a row in the items table"] = len(absent)
    if absent:
        filler = pd.DataFrame(
            {ITEM: absent, TITLE: [f"Unknown item {i}" for i in absent], TEXT: ""}
        )
        items = pd.concat([items, filler], ignore_index=True)
        items = items.fillna({c: "" for c in items.columns})
    cleaned = items[TITLE].map(clean_title)
    quality["titles with delimiters, breaks or overlength mended"] = int(
        (cleaned != items[TITLE]).sum()
    )
    number = cleaned.groupby(cleaned).cumcount()
    quality["equal titles numbered"] = int((number > 0).sum())
    items[TITLE] = cleaned.where(number == 0, cleaned + " [" + (number + 1).astype(str) + "]")
    quality["items without text"] = int((items[TEXT].str.strip() == "").sum())
    users = USERS.check(raw.users, where).to_pandas()
    users = pd.DataFrame({USER: log[USER].unique()}).merge(users, on=USER, how="left")
    users = users.fillna({c: "" for c in users.columns})
    return Dataset(
        log[[USER, ITEM, RATING, TIME]].reset_index(drop=True),
        items.reset_index(drop=True),
        users,
        raw.noun,
        raw.verb,
        raw.item_features,
        raw.user_features,
        raw.attributes,
        quality,
        raw.published_as,
    )

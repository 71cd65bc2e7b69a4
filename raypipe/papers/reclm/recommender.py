"""The recommender of a RecLM bundle: known users, new users by their history, and items that came after training. No Ray.

The LLM writes a new user's profile from the history, and a new item's from similar items and their profiles, under the grammar that
training used; both are encoded, and the backbone is asked without being trained (backbones/extension.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from raypipe.backbones.contract import Ragged, SetQueries
from raypipe.backbones.entities import Texts
from raypipe.backbones.extension import NewItems, NewUser, extended
from raypipe.backbones.scoring import top_sets
from raypipe.backbones.snapshots import SnapshotTables
from raypipe.data.dataset import Dataset, clean_title
from raypipe.data.snapshot import TEST, Snapshots
from raypipe.errors import UnknownError
from raypipe.llm.encoder import Encoder
from raypipe.llm.transformers import Scorer
from raypipe.papers.contract import MAX_ITEMS, NewItem
from raypipe.papers.reclm.backbones import load_model
from raypipe.papers.reclm.bundle import FORMAT
from raypipe.papers.reclm.config import ReclmConfig
from raypipe.papers.reclm.histories import histories
from raypipe.papers.reclm.rendering import Book, line
from raypipe.papers.reclm.vectors import read_vectors, unit
from raypipe.prompts import profiles
from raypipe.prompts.contract import Rejected
from raypipe.steps.bundle import read_head


class Suggestion(NamedTuple):
    """One item of an answer; `new` where it came with the request; the profile of the users it is for, where there is one."""

    item_id: str
    title: str
    rank: int
    new: bool
    profile: str


class Suggestions(NamedTuple):
    """An answer, best first; `profile` of the user, where there is one, and whether it was written for this request."""

    items: list[Suggestion]
    backbone: str
    profile: str
    profile_is_new: bool


class Recommender:
    """A RecLM bundle in memory.

    Raises:
        ArtifactError: the folder is not a bundle of this format.
    """

    def __init__(self, folder: Path) -> None:
        facts = read_head(folder, FORMAT)
        self.config = ReclmConfig.model_validate(facts["config"])
        self.backbone, self.seed = facts["backbone"], int(facts["seed"])
        self.dataset = Dataset.load(folder / "dataset")
        self.source = SnapshotTables(self.dataset, Snapshots.load(folder / "snapshots"))
        self.book = Book.of(self.dataset, self.config.profiles)
        self.known = histories(self.source, TEST)
        raw = read_vectors(folder / "vectors" / "texts")["items"]
        tables: dict[str, np.ndarray | None] = {"users": None, "items": None}
        self.written = {
            side: np.full(n, "", object)
            for side, n in (("users", len(self.source.users)), ("items", len(raw)))
        }
        for side in tables:
            if (folder / "vectors" / side).is_dir():
                tables[side] = read_vectors(folder / "vectors" / side)["profiles"]
                self.written[side] = pd.read_parquet(
                    folder / "vectors" / side / "profiles.parquet"
                )["text"].to_numpy()
        self.texts = Texts(raw, tables["users"], tables["items"])
        self.data = self.source.fit_data(TEST, self.texts)
        self.model: Any = load_model(
            folder / "model", self.config, self.backbone, self.source, "first", self.texts
        )
        self.llm = {
            side: Scorer(str(folder / "llm" / side))
            for side in tables
            if (folder / "llm" / side).is_dir()
        }
        own = self.config.encoder
        self.encoder = Encoder(own.source, own.max_tokens, own.batch_size)

    def recommend(
        self,
        user_id: str | None = None,
        history: list[str] | None = None,
        k: int = 10,
        task: str | None = None,
        new_items: Sequence[NewItem] = (),
    ) -> Suggestions:
        """The k best items for a known user, or for a history of item ids, oldest first, among all items and new ones.

        Raises:
            UnknownError: the user, an item or the task is not known. ValueError: k out of range, neither or both of user and history, or a
                new item that is known or twice there.
        """
        if task == "sequential":
            raise UnknownError(
                "a RecLM bundle has no sequential model", "task", "leave the task out"
            )
        if (user_id is None) == (history is None):
            raise ValueError("give either user_id or history, not both")
        if not 1 <= k <= MAX_ITEMS:
            raise ValueError(f"k must lie between 1 and {MAX_ITEMS}, not {k}")
        ids = [n.item_id for n in new_items]
        if len(set(ids)) < len(ids) or any(i in self.source.items for i in ids):
            raise ValueError("each new item needs an id of its own, which no known item has")
        items, item_profiles = self._items(new_items)
        numbers, user, told, is_new = self._user(user_id, history)
        model, data = self.model, self.data
        asked = len(self.source.users) if user is not None else int(numbers)
        if items is not None or user is not None:
            model, data = extended(model, data, items, user)
        seen = user.history if user is not None else self.known.row(asked)
        catalogue = np.arange(data.n_items)
        question = SetQueries(
            np.array([asked]),
            Ragged.of([np.asarray(seen)]),
            Ragged.of([np.empty(0, np.int64)]),
            catalogue,
        )
        free = len(catalogue) - len(np.unique(seen))
        best = top_sets(model, question, min(k, free), self.seed)[0][0]
        first = len(self.source.items)
        made = []
        for rank, i in enumerate(best.tolist(), 1):
            if i < first:
                made.append(
                    Suggestion(
                        str(self.source.items[i]),
                        self.book.titles[i],
                        rank,
                        False,
                        str(self.written["items"][i]),
                    )
                )
            else:
                one = new_items[i - first]
                made.append(
                    Suggestion(one.item_id, one.title, rank, True, item_profiles[i - first])
                )
        return Suggestions(made, self.backbone, told, is_new)

    def rate(self, user_id: str, item_id: str) -> Any:
        """A RecLM bundle predicts no ratings: UnknownError says so."""
        raise UnknownError(
            "a RecLM bundle has no rating model", "/rate", "serve a bundle of the task rating"
        )

    @property
    def tasks(self) -> list[str]:
        """The tasks that it answers."""
        return ["direct"]

    def check(self) -> None:
        """Answer one request, so that a health check takes the real path."""
        self.recommend(user_id=str(self.source.users[0]), k=1)

    def _user(
        self, user_id: str | None, history: list[str] | None
    ) -> tuple[int, NewUser | None, str, bool]:
        """Number of a known user, or the new one; the profile, and whether it was written now."""
        if user_id is not None:
            row = int(self.source.users.get_indexer([user_id])[0])
            if row < 0:
                raise UnknownError(
                    f"there is no user {user_id!r}", "user_id", "send a history of item ids instead"
                )
            return row, None, str(self.written["users"][row]), False
        assert history is not None
        if not history:
            raise ValueError("the history is empty")
        items = self.source.items.get_indexer(history)
        for name, row in zip(history, items, strict=True):
            if row < 0:
                raise UnknownError(
                    f"there is no item {name!r}", "item_id", "send an id of the items table"
                )
        told = ""
        if "users" in self.llm:
            # those who took the same items stand for the similar users of training
            alike = self._alike(items)
            asked = self.book.user(items, [self.known.row(u) for u in alike], "")
            told = self._write(
                "users", asked.text, asked.pattern, self.config.profiles.user_phrases
            )
        vector = self.encoder.encode([told])[0] if told else None
        return -1, NewUser(items.astype(np.int64), vector), told, bool(told)

    def _alike(self, items: np.ndarray) -> np.ndarray:
        """Users who share most items with a history, the first among equals."""
        shared = np.bincount(
            self.data.user[np.isin(self.data.item, items)], minlength=self.data.n_users
        )
        order = np.argsort(-shared, kind="stable")[: self.config.profiles.neighbours]
        return order[shared[order] > 0]

    def _items(self, new: Sequence[NewItem]) -> tuple[NewItems | None, list[str]]:
        """New items as vectors, and their profiles."""
        if not new:
            return None, []
        lines = [line(clean_title(n.title), n.features, n.text) for n in new]
        vectors = self.encoder.encode(lines)
        told = [""] * len(new)
        table = None
        if "items" in self.llm:
            have = np.flatnonzero(self.written["items"] != "")
            known = unit(self.texts.item[have])
            for number, (one, vector) in enumerate(zip(new, unit(vectors), strict=True)):
                near = have[
                    np.argsort(-(known @ vector), kind="stable")[: self.config.profiles.neighbours]
                ]
                shown = line(
                    clean_title(one.title), one.features, one.text[: self.config.profiles.text]
                )
                asked = self.book.item(
                    shown, (), [(int(i), str(self.written["items"][i])) for i in near], ""
                )
                told[number] = self._write(
                    "items", asked.text, asked.pattern, self.config.profiles.item_phrases
                )
        if self.texts.item_profile is not None:
            table = np.zeros((len(new), self.texts.item_profile.shape[1]), np.float32)
            some = [n for n, text in enumerate(told) if text]
            if some:
                table[some] = self.encoder.encode([told[n] for n in some])
        return NewItems(vectors, table), told

    def _write(self, side: str, prompt: str, form: str, phrases: int) -> str:
        """A profile, or "" where the prompt does not fit the context."""
        got = profiles.parse(
            self.llm[side].write(prompt, form), phrases, self.config.profiles.phrase
        )
        return "" if isinstance(got, Rejected) else got.text

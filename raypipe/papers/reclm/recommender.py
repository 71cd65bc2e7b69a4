"""The recommender of a RecLM bundle: known users, new users with a history, and new items.

It ranks with the functions of the evaluation (backbones/scoring.py), and renders and parses the
profiles of new users and items with those of training (rendering.py, prompt_tables.py). The LLM
writes a new user's profile from the history, and a new item's from similar items. Both are encoded,
and the backbone scores them without training (backbones/extension.py). Ray is not started.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from raypipe.backbones.contract import Ragged, SetQueries
from raypipe.backbones.entities import TextVectors
from raypipe.backbones.extension import NewItems, NewUser, extend_model
from raypipe.backbones.scoring import top_sets
from raypipe.backbones.snapshots import SnapshotMatrices
from raypipe.data.dataset import Dataset, clean_title
from raypipe.data.snapshot import TEST, Snapshots
from raypipe.errors import UnknownError
from raypipe.llm.encoder import Encoder
from raypipe.llm.transformers import Scorer
from raypipe.papers.contract import MAX_ITEMS, NewItem
from raypipe.papers.reclm.backbones import load_model
from raypipe.papers.reclm.bundle import FORMAT
from raypipe.papers.reclm.config import ReclmConfig, Side
from raypipe.papers.reclm.histories import histories, similar_items
from raypipe.papers.reclm.prompt_tables import parse_profile
from raypipe.papers.reclm.rendering import ProfilePrompts, item_text
from raypipe.papers.reclm.vectors import read_vectors
from raypipe.prompts.contract import Rejected, Rendered
from raypipe.steps.bundle import read_head

#: side -> name of its folders in a bundle
FOLDER: dict[Side, str] = {"user": "users", "item": "items"}


class Suggestion(NamedTuple):
    """One item of an answer.

    Attributes:
        new: whether the item came with the request.
        profile: the users whom it suits; empty if it has no profile.
    """

    item_id: str
    title: str
    rank: int
    new: bool
    profile: str


class Suggestions(NamedTuple):
    """An answer.

    Attributes:
        items: the best first.
        profile: the user's profile; empty if there is none.
        profile_is_new: whether the profile was written for this request.
    """

    items: list[Suggestion]
    backbone: str
    profile: str
    profile_is_new: bool


class _User(NamedTuple):
    """The user of a request.

    Attributes:
        number: row number among the users of the model, a new user included.
        history: row numbers of the items that are not recommended again.
        new: the user as the model gets it; None for a known user.
    """

    number: int
    history: np.ndarray
    new: NewUser | None
    profile: str


class _Arrivals(NamedTuple):
    """The new items of a request, as the model gets them, and their profiles."""

    items: NewItems | None
    profiles: list[str]


class Recommender:
    """A RecLM bundle in memory.

    Raises:
        ArtifactError: the folder is not a bundle of this format.
    """

    def __init__(self, folder: Path) -> None:
        head = read_head(folder, FORMAT)
        self.config = ReclmConfig.model_validate(head["config"])
        self.backbone, self.seed = head["backbone"], int(head["seed"])
        self.dataset = Dataset.load(folder / "dataset")
        self.tables = SnapshotMatrices(self.dataset, Snapshots.load(folder / "snapshots"))
        self.prompts = ProfilePrompts.of(self.dataset, self.config.profiles)
        self.histories = histories(self.tables, TEST)
        vectors: dict[Side, np.ndarray | None] = {"user": None, "item": None}
        self.profiles: dict[Side, np.ndarray] = {
            "user": np.full(len(self.tables.users), "", object),
            "item": np.full(len(self.tables.items), "", object),
        }
        self.llms: dict[Side, Scorer] = {}
        for side, name in FOLDER.items():
            source = folder / "vectors" / name
            if source.is_dir():
                vectors[side] = read_vectors(source)["profiles"]
                self.profiles[side] = pd.read_parquet(source / "profiles.parquet")[
                    "text"
                ].to_numpy()
            if (folder / "llm" / name).is_dir():
                self.llms[side] = Scorer(str(folder / "llm" / name))
        item_vectors = read_vectors(folder / "vectors" / "texts")["items"]
        self.texts = TextVectors(item_vectors, vectors["user"], vectors["item"])
        self.data = self.tables.fit_data(TEST, self.texts)
        self.model: Any = load_model(
            folder / "model", self.config, self.backbone, self.tables, "first", self.texts
        )
        encoder = self.config.encoder
        self.encoder = Encoder(encoder.source, encoder.max_tokens, encoder.batch_size)

    def recommend(
        self,
        user_id: str | None = None,
        history: list[str] | None = None,
        k: int = 10,
        task: str | None = None,
        new_items: Sequence[NewItem] = (),
        among: Sequence[str] | None = None,
    ) -> Suggestions:
        """The k best items for a known user, or for a history of item ids, oldest first.

        Args:
            task: direct, or None.
            new_items: items that came after training; they compete with the known ones.
            among: ids of the known items to rank, e.g. those in stock; None: all.

        Raises:
            UnknownError: the user, an item or the task is not known.
            ValueError: k out of range, neither or both of user and history, or a new item whose id
                is known or repeated.
        """
        if task not in (None, *self.tasks):
            raise UnknownError(f"a RecLM bundle has no {task} model", "task", "leave the task out")
        if (user_id is None) == (history is None):
            raise ValueError("give either user_id or history, not both")
        if not 1 <= k <= MAX_ITEMS:
            raise ValueError(f"k must lie between 1 and {MAX_ITEMS}, not {k}")
        self._check_new_ids(new_items)
        catalogue = self._catalogue(among, len(new_items))
        arrivals = self._arrivals(new_items)
        user = self._known_user(user_id) if user_id is not None else self._new_user(history or [])
        best = self._rank(user, arrivals.items, catalogue, k)
        suggestions = []
        for rank, item in enumerate(best.tolist(), 1):
            number = item - len(self.tables.items)
            if number >= 0:
                one, profile = new_items[number], arrivals.profiles[number]
                suggestions.append(Suggestion(one.item_id, one.title, rank, True, profile))
            else:
                name, title = str(self.tables.items[item]), self.prompts.titles[item]
                profile = str(self.profiles["item"][item])
                suggestions.append(Suggestion(name, title, rank, False, profile))
        written = user.new is not None and bool(user.profile)
        return Suggestions(suggestions, self.backbone, user.profile, written)

    def rate(self, user_id: str, item_id: str) -> Any:
        """Raises UnknownError, as a RecLM bundle predicts no ratings."""
        raise UnknownError(
            "a RecLM bundle has no rating model", "/rate", "serve a bundle of the task rating"
        )

    @property
    def tasks(self) -> list[str]:
        """The tasks that it answers."""
        return ["direct"]

    def check(self) -> None:
        """Answer one request, so that a health check takes the real path."""
        self.recommend(user_id=str(self.tables.users[0]), k=1)

    def _rank(
        self, user: _User, items: NewItems | None, catalogue: np.ndarray, k: int
    ) -> np.ndarray:
        """Row numbers of the k best items of the catalogue without the user's own, best first."""
        model = self.model
        if items is not None or user.new is not None:
            model, _ = extend_model(model, self.data, items, user.new)
        question = SetQueries(
            np.array([user.number]),
            Ragged.from_lists([user.history]),
            Ragged.from_lists([np.empty(0, np.int64)]),
            catalogue,
        )
        unseen = len(np.setdiff1d(catalogue, user.history))
        return top_sets(model, question, min(k, unseen), self.seed)[0][0]

    def _catalogue(self, among: Sequence[str] | None, n_new: int) -> np.ndarray:
        """Row numbers of the items to rank, in order; new items follow the known ones."""
        n_items = len(self.tables.items)
        known = np.arange(n_items) if among is None else np.unique(self._numbers(among))
        return np.concatenate([known, np.arange(n_items, n_items + n_new)])

    def _numbers(self, item_ids: Sequence[str]) -> np.ndarray:
        """Row numbers of items; UnknownError names the first unknown one."""
        numbers = self.tables.items.get_indexer(list(item_ids)).astype(np.int64)
        if (numbers < 0).any():
            unknown = item_ids[int(np.argmax(numbers < 0))]
            raise UnknownError(
                f"there is no item {unknown!r}", "item_id", "send an id of the items table"
            )
        return numbers

    def _check_new_ids(self, new_items: Sequence[NewItem]) -> None:
        ids = pd.Index([one.item_id for one in new_items])
        if ids.has_duplicates or ids.isin(self.tables.items).any():
            raise ValueError("each new item needs an id of its own, which no known item has")

    def _known_user(self, user_id: str) -> _User:
        number = int(self.tables.users.get_indexer([user_id])[0])
        if number < 0:
            raise UnknownError(
                f"there is no user {user_id!r}", "user_id", "send a history of item ids instead"
            )
        profile = str(self.profiles["user"][number])
        return _User(number, self.histories.row(number), None, profile)

    def _new_user(self, history: list[str]) -> _User:
        """A user who is not in the data, with a profile written from the history."""
        if not history:
            raise ValueError("the history is empty")
        items = self._numbers(history)
        profile = ""
        if "user" in self.llms:
            similar = list(map(self.histories.row, self._users_sharing(items)))
            profile = self._write("user", self.prompts.user(items, similar))
        vector = self.encoder.encode([profile])[0] if profile else None
        return _User(len(self.tables.users), items, NewUser(items, vector), profile)

    def _users_sharing(self, items: np.ndarray) -> np.ndarray:
        """The users who share most items with a history: they stand in for similar users."""
        users = self.data.user[np.isin(self.data.item, items)]
        shared = np.bincount(users, minlength=self.data.n_users)
        order = np.argsort(-shared, kind="stable")[: self.config.profiles.neighbours]
        return order[shared[order] > 0]

    def _arrivals(self, new_items: Sequence[NewItem]) -> _Arrivals:
        """New items as vectors, with profiles written from similar items."""
        if not new_items:
            return _Arrivals(None, [])
        lines = []
        for one in new_items:
            lines.append(item_text(clean_title(one.title), one.features, one.text))
        vectors = self.encoder.encode(lines)
        profiles = [""] * len(new_items)
        if "item" in self.llms:
            profiles = self._item_profiles(new_items, vectors)
        if self.texts.item_profile is None:
            return _Arrivals(NewItems(vectors, None), profiles)
        profile_vectors = np.zeros((len(new_items), self.texts.item_profile.shape[1]), np.float32)
        present = [number for number, profile in enumerate(profiles) if profile]
        if present:
            profile_vectors[present] = self.encoder.encode([profiles[n] for n in present])
        return _Arrivals(NewItems(vectors, profile_vectors), profiles)

    def _item_profiles(self, new_items: Sequence[NewItem], vectors: np.ndarray) -> list[str]:
        """Profiles of new items, like those of cold-start items in `profiles.cold_prompts`."""
        n_items = len(self.tables.items)
        profiled = np.flatnonzero(self.profiles["item"] != "")
        all_vectors = np.concatenate([self.texts.item, vectors])
        numbers = np.arange(n_items, n_items + len(new_items))
        similar = similar_items(all_vectors, numbers, profiled, self.config.profiles.neighbours)
        profiles = []
        for one, others in zip(new_items, similar.tolist(), strict=True):
            line = self.prompts.line(clean_title(one.title), one.features, one.text)
            neighbours = [(item, str(self.profiles["item"][item])) for item in others]
            profiles.append(self._write("item", self.prompts.item(line, (), neighbours)))
        return profiles

    def _write(self, side: Side, prompt: Rendered) -> str:
        """A profile, or "" if the prompt does not fit the context."""
        answer = self.llms[side].generate(prompt.text, prompt.pattern)
        profile = parse_profile(answer, side, self.config.profiles)
        return "" if isinstance(profile, Rejected) else profile.text

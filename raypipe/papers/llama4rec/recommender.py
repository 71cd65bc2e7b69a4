"""The recommender that a bundle holds: retrieve, re-rank, aggregate. Plain Python, no Ray.

It words its prompts with papers/llama4rec/rendering.py and mixes with aggregation.py, as the evaluation does.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from raypipe.backbones import registry
from raypipe.backbones.contract import Queries, Ragged, RatingQueries
from raypipe.backbones.interaction_matrices import Augmentation, InteractionMatrices
from raypipe.backbones.scoring import predict, top_k
from raypipe.data.dataset import Dataset
from raypipe.data.split import Split
from raypipe.errors import UnknownError
from raypipe.llm.transformers import Question, Scorer
from raypipe.papers.contract import MAX_ITEMS, NewItem
from raypipe.papers.llama4rec import aggregation, rendering
from raypipe.papers.llama4rec.backbones import load_backbone
from raypipe.papers.llama4rec.bundle import FORMAT
from raypipe.papers.llama4rec.config import Llama4RecConfig
from raypipe.papers.llama4rec.llm_scores import merged, must_merge
from raypipe.papers.llama4rec.prompt_requests import NOTHING, Ask, Histories, Past, chunks
from raypipe.papers.llama4rec.prompts import similar_of
from raypipe.prompts.contract import Completion, Rejected
from raypipe.prompts.templates import pointwise
from raypipe.schema import TITLE
from raypipe.seeding import generator
from raypipe.steps.bundle import read_head


class Recommendation(NamedTuple):
    """One item of an answer. rank_llm is None for items below the re-ranked list."""

    item_id: str
    title: str
    rank: int
    rank_rec: int
    rank_llm: int | None


class Answer(NamedTuple):
    """A list, the weight of the LLM for this user, and whether the LLM's answer could be used."""

    items: list[Recommendation]
    alpha: float
    task: str
    backbone: str
    llm_answered: bool


class Rating(NamedTuple):
    """A blended rating and its two parts."""

    prediction: float
    rec: float
    llm: float | None
    alpha: float
    backbone: str


class Recommender:
    """A bundle in memory.

    Raises:
        ArtifactError: the folder is not a bundle of this format.
    """

    def __init__(self, folder: Path) -> None:
        facts = read_head(folder, FORMAT)
        self.config = Llama4RecConfig.model_validate(facts["config"])
        self.seed = int(facts["seed"])
        self.style = self.config.style
        dataset, split = Dataset.load(folder / "dataset"), Split.load(folder / "split")
        self.tables = InteractionMatrices(dataset, split)
        self.histories = Histories(self.tables)
        self.book = rendering.Catalogue.of(dataset)
        self.titles = dataset.items[TITLE].to_numpy(str)
        self.chosen = {c["task"]: c for c in facts["chosen"]}
        self.models: dict[str, Any] = {}
        self.similar: dict[str, dict[str, str]] = {}
        for task, choice in self.chosen.items():
            name = choice["backbone"]
            options = registry.options(task, name, self.config.backbone_options.get(name, {}))
            data = self.tables.fit_data(
                task, extra=Augmentation.read(folder / "augmentation", name)
            )
            self.models[task] = load_backbone(folder / "models" / name, task, name, data, options)
            self.similar[task] = similar_of(folder / "models" / name)
        self.scorer = Scorer(str(folder / "llm"))
        sizes = {
            task: np.array(
                [
                    len(p.items)
                    for p in (
                        self.histories.rated if task == "rating" else self.histories.topk_train
                    ).values()
                ]
            )
            for task in self.chosen
        }
        ell = {t: aggregation.long_tail_coefficient(s) for t, s in sizes.items()}
        self.range = {t: (float(e.min()), float(e.max())) for t, e in ell.items()}

    def recommend(
        self,
        user_id: str | None = None,
        history: list[str] | None = None,
        k: int = 10,
        task: str | None = None,
        new_items: Sequence[NewItem] = (),
    ) -> Answer:
        """The k best items for a known user, or for a history of item ids, oldest first.

        Raises:
            UnknownError: user, item or task; or new items are given. ValueError: k out of range, or neither or both of user and history.
        """
        if new_items:
            raise UnknownError(
                "this bundle knows items by id only",
                "new_items",
                "serve a bundle of RecLM for items without a history",
            )
        if (user_id is None) == (history is None):
            raise ValueError("give either user_id or history, not both")
        if not 1 <= k <= MAX_ITEMS:
            raise ValueError(f"k must lie between 1 and {MAX_ITEMS}, not {k}")
        task = task or (
            "sequential" if history is not None and "sequential" in self.chosen else self._first()
        )
        if task == "rating" or task not in self.chosen:
            tasks = ", ".join(t for t in self.chosen if t != "rating") or "none"
            raise UnknownError(
                f"this bundle cannot recommend by task {task!r}", "task", f"it has: {tasks}"
            )
        if history is not None and task == "direct":
            raise UnknownError(
                "a direct model knows users by id only",
                "task",
                "use the task sequential with a history",
            )
        user, past = self._user(user_id), self._past(user_id, history)
        choice = self.chosen[task]
        masked = self.tables.split.masked or task == "direct"
        queries = Queries(np.array([user]), Ragged.from_lists([past.items]), np.array([0]), masked)
        free = len(self.book.ids) - (len(np.unique(past.items)) if masked else 0)
        depth = min(max(k, self.config.k_prime), free)
        found = top_k(self.models[task], queries, depth, self.seed)
        candidates = found.items[0]
        k_prime = min(self.config.k_prime, depth)
        alpha = self._alpha(
            task, len(past.items) if user_id is None else len(self._train(task, user_id).items)
        )
        rec = np.asarray(found.scores[:, :k_prime], dtype=float)
        values = self._llm_values(
            task, choice["ranking"], user_id, past, candidates[:k_prime], rec[0]
        )
        answered = values is not None
        said = rec if values is None else values[None, :]
        llm = aggregation.positions(said)
        if self.config.by_position:
            said, rec = aggregation.by_position(said), aggregation.by_position(rec)
        final = aggregation.positions(aggregation.mixed(said, rec, np.array([alpha])))[0]
        order = [*np.argsort(final, kind="stable"), *range(k_prime, depth)][:k]
        items = [
            Recommendation(
                str(self.book.ids[candidates[at]]),
                str(self.titles[candidates[at]]),
                rank,
                int(at) + 1,
                int(llm[0, at]) if answered and at < k_prime else None,
            )
            for rank, at in enumerate(order, 1)
        ]
        return Answer(items, alpha if answered else 0.0, task, choice["backbone"], answered)

    def rate(self, user_id: str, item_id: str) -> Rating:
        """The rating that a known user would give an item; UnknownError names what is not known."""
        if "rating" not in self.chosen:
            raise UnknownError(
                "this bundle has no rating model",
                "task rating",
                "run the pipeline with the task rating",
            )
        user, item = self._user(user_id), self._item(item_id)
        choice = self.chosen["rating"]
        queries = RatingQueries(
            np.array([user]), np.array([item]), np.array([0.0], dtype=np.float32)
        )
        rec = float(predict(self.models["rating"], queries)[0])
        other = self.histories.rated_visible.get(self.similar["rating"].get(user_id, ""), NOTHING)
        ask = self._ask(
            "pointwise",
            user_id,
            "rating",
            self.histories.rated.get(user_id, NOTHING),
            other,
            rated=True,
        )
        said = self._pointwise(ask._replace(hint_rating=rec, candidates=(item,)))
        alpha = self._alpha("rating", len(self._train("rating", user_id).items))
        if said is None:
            return Rating(rec, rec, None, 0.0, choice["backbone"])
        mixed = aggregation.blend_ratings(np.array([said]), np.array([rec]), np.array([alpha]))
        return Rating(float(mixed[0]), rec, said, alpha, choice["backbone"])

    @property
    def tasks(self) -> list[str]:
        """The tasks that it answers."""
        return list(self.chosen)

    def check(self) -> None:
        """Answer one request for the first user, so that a health check takes the real path."""
        if self._first() in self.chosen:
            self.recommend(user_id=str(self.tables.users[0]), k=1, task=self._first())

    def _first(self) -> str:
        return next((t for t in self.chosen if t != "rating"), "direct")

    def _user(self, user_id: str | None) -> int:
        if user_id is None:
            return 0  # sequential models do not read it
        row = int(self.tables.users.get_indexer([user_id])[0])
        if row < 0:
            raise UnknownError(
                f"there is no user {user_id!r}", "user_id", "send a history of item ids instead"
            )
        return row

    def _item(self, item_id: str) -> int:
        row = int(self.tables.items.get_indexer([item_id])[0])
        if row < 0:
            raise UnknownError(
                f"there is no item {item_id!r}", "item_id", "send an id of the items table"
            )
        return row

    def _past(self, user_id: str | None, history: list[str] | None) -> Past:
        if history is not None:
            items = np.array([self._item(i) for i in history], dtype=np.int64)
            if not len(items):
                raise ValueError("the history is empty")
            return Past(items, np.ones(len(items), dtype=np.float32))
        return self.histories.topk.get(str(user_id), NOTHING)

    def _train(self, task: str, user_id: str) -> Past:
        source = self.histories.rated if task == "rating" else self.histories.topk_train
        return source.get(user_id, NOTHING)

    def _alpha(self, task: str, interactions: int) -> float:
        choice = self.chosen[task]
        ell = aggregation.long_tail_coefficient(np.array([interactions]))
        return float(aggregation.weight(ell, *self.range[task], choice)[0])

    def _ask(
        self, template: str, user_id: str | None, task: str, past: Past, other: Past, rated: bool
    ) -> Ask:
        settings = self.config.prompts
        past = past.last(self.config.rated if rated else settings.history)
        other = other.last(settings.similar) if settings.similar else NOTHING
        return Ask(
            "",
            template,
            user_id or "",
            task,
            "serve",
            past.items,
            past.ratings if rated else (),
            other.items,
            other.ratings if rated else (),
        )

    def _llm_values(
        self,
        task: str,
        ranking: str,
        user_id: str | None,
        past: Past,
        candidates: np.ndarray,
        rec: np.ndarray,
    ) -> np.ndarray | None:
        """[K] the LLM's value of each candidate, larger is better; None where an answer is rejected. `rec` [K]: their scores."""
        similar = self.similar[task].get(user_id or "", "")
        if ranking == "pointwise":
            own = self.histories.rated_visible.get(user_id or "", NOTHING)
            other = self.histories.rated_visible.get(similar, NOTHING)
            ask = self._ask("pointwise", user_id, task, own, other, rated=True)
            said = [
                self._pointwise(ask._replace(candidates=(c,)))
                for c in candidates[: self.config.rerank.pointwise_k]
            ]
            rest = [-np.inf] * (len(candidates) - len(said))
            return None if any(v is None for v in said) else np.array([*said, *rest], dtype=float)
        template = rendering.LISTS[self.config.lists]
        other = self.histories.topk_train.get(similar, NOTHING)
        ask = self._ask(self.config.lists, user_id, task, past, other, rated=False)
        ask = ask._replace(hint=candidates[: self.config.prompts.hint])
        # in random order, as in evaluation: a prompt must not tell what the conventional model thinks by the order of candidates
        parts = chunks(
            generator(self.seed, "listwise", "serve").permutation(len(candidates)),
            self.config.at_once,
        )
        made = [
            rendering.render(ask._replace(candidates=candidates[part]), self.book, self.style)
            for part in parts
        ]
        values, chunk = np.empty(len(candidates)), np.empty(len(candidates))
        if self.config.rerank.written:
            answers = [Completion(self.scorer.generate(m.text, m.pattern), ()) for m in made]
        else:
            answers = [
                Completion("", scores)
                for scores in self.scorer.score([Question(m.text, m.options) for m in made])
            ]
        for number, (part, one, answer) in enumerate(zip(parts, made, answers, strict=True)):
            got = template.parse(answer, one.options, one.payload)
            if isinstance(got, Rejected):
                return None
            by_id = dict(got)
            values[part], chunk[part] = [by_id[item] for item in one.payload], number
        return merged(values, chunk, rec) if must_merge(self.config) else values

    def _pointwise(self, ask: Ask) -> float | None:
        made = rendering.render(ask, self.book, self.style)
        scores = self.scorer.score([Question(made.text, made.options)])[0]
        got = pointwise.parse(Completion("", scores), made.options, made.payload)
        return None if isinstance(got, Rejected) else got

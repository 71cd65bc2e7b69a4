"""The recommender of a bundle: retrieve candidates, ask the LLM about them, mix. Plain Python, no
Ray.

Each step is the function that evaluation uses: candidate lists (backbones.py), requests
    (prompt_requests.py),
prompts (rendering.py), scores (llm_scores.py) and mixing (mixing.py). So a served list is the list
that was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from raypipe.backbones import registry
from raypipe.backbones.contract import Queries, Ragged, Ranker, Rater, RatingQueries
from raypipe.backbones.interaction_matrices import Augmentation, InteractionMatrices
from raypipe.backbones.scoring import predict
from raypipe.data.dataset import Dataset
from raypipe.data.split import Split
from raypipe.errors import UnknownError
from raypipe.llm.transformers import Completer
from raypipe.papers.contract import MAX_ITEMS, NewItem
from raypipe.papers.llama4rec import mixing, rendering
from raypipe.papers.llama4rec.backbones import candidate_lists, load_backbone
from raypipe.papers.llama4rec.bundle import FORMAT
from raypipe.papers.llama4rec.config import Llama4RecConfig
from raypipe.papers.llama4rec.histories import NO_INTERACTIONS, Histories
from raypipe.papers.llama4rec.llm_scores import llm_scores
from raypipe.papers.llama4rec.mixing import Choice
from raypipe.papers.llama4rec.prompt_requests import (
    PromptRequest,
    RequestBuilder,
    Target,
    in_chunks,
    listwise_stream,
    table,
)
from raypipe.papers.llama4rec.prompts import similar_users
from raypipe.papers.llama4rec.recommendation import Answer, Rating, Recommendation
from raypipe.papers.llama4rec.request_context import AsOf, RequestContext, UserLookup
from raypipe.papers.llama4rec.variants import WAVES, source
from raypipe.schema import ITEM, USER
from raypipe.steps.bundle import read_head


class Recommender:
    """A bundle in memory.

    Raises:
        ArtifactError: the folder is not a bundle of this format.
    """

    def __init__(self, folder: Path) -> None:
        facts = read_head(folder, FORMAT)
        self.config = Llama4RecConfig.model_validate(facts["config"])
        self.seed, self.variant = int(facts["seed"]), facts["variant"]
        self.matrices = InteractionMatrices(
            Dataset.load(folder / "dataset"), Split.load(folder / "split")
        )
        self.histories = Histories(self.matrices)
        self.users = UserLookup(self.matrices, self.histories)
        self.catalogue = rendering.Catalogue.of(self.matrices.dataset)
        self.choices: dict[str, Choice] = {choice["task"]: choice for choice in facts["chosen"]}
        self.models: dict[str, Ranker | Rater] = {}
        self.builders: dict[str, RequestBuilder] = {}
        for task, choice in self.choices.items():
            self.models[task] = self._load_model(folder, task, choice["backbone"])
            self.builders[task] = self._builder(folder, choice["backbone"])
        self.llm = Completer(str(folder / "llm")) if self.variant != "base" else None

    def _load_model(self, folder: Path, task: str, name: str) -> Ranker | Rater:
        options = registry.options(task, name, self.config.backbone_options.get(name, {}))
        extra = None
        if (folder / "augmentation").is_dir():
            extra = Augmentation.read(folder / "augmentation", name)
        data = self.matrices.fit_data(task, extra=extra)
        return load_backbone(folder / "models" / name, task, name, data, options)

    def _builder(self, folder: Path, name: str) -> RequestBuilder:
        hints = self.variant != "base" and WAVES[source(self.variant)].hints
        return RequestBuilder(
            self.matrices,
            self.histories,
            self.config.prompts,
            self.config.rating_history_length,
            self.seed,
            name,
            similar_users(folder / "models" / name) if hints else None,
        )

    @property
    def tasks(self) -> list[str]:
        """The tasks that it answers."""
        return list(self.choices)

    def check(self) -> None:
        """Answer one request for the first user, so that a health check takes the real path."""
        user = str(self.matrices.users[0])
        if self._list_tasks():
            self.recommend(user_id=user, k=1)
        else:
            self.rate(user, str(self.matrices.items[0]))

    def recommend(
        self,
        user_id: str | None = None,
        history: list[str] | None = None,
        k: int = 10,
        task: str | None = None,
        new_items: Sequence[NewItem] = (),
        as_of: AsOf = "now",
    ) -> Answer:
        """The k best items for a known user, or for a history of item ids, oldest first.

        Args:
            as_of: "test" answers a known user with what was known before the test row, as
                evaluation did.

        Raises:
            UnknownError: user, item or task; or new items are given.
            ValueError: k out of range, or neither or both of user and history.
        """
        if new_items:
            raise UnknownError(
                "this bundle knows items by id only",
                "new_items",
                "serve a bundle of RecLM for items without a history",
            )
        if not 1 <= k <= MAX_ITEMS:
            raise ValueError(f"k must lie between 1 and {MAX_ITEMS}, not {k}")
        task = self._list_task(task, history is not None)
        context = self.users.context(task, user_id, history, as_of)
        lists = self._candidates(task, context, k)
        choice = self.choices[task]
        ranked, alpha, answered = self._rank(task, choice, context, lists)
        items = self._items(ranked, lists, answered)[:k]
        return Answer(items, alpha if answered else 0.0, task, choice["backbone"], answered)

    def rate(self, user_id: str, item_id: str, as_of: AsOf = "now") -> Rating:
        """The rating that a known user would give an item.

        Raises:
            UnknownError: names the user, item or task that is not known.
        """
        if "rating" not in self.choices:
            raise UnknownError(
                "this bundle has no rating model", "task rating", "run the pipeline with that task"
            )
        user, item = self.users.user_number(user_id), self.users.item_number(item_id)
        choice, model = self.choices["rating"], self.models["rating"]
        assert isinstance(model, Rater)
        query = RatingQueries(np.array([user]), np.array([item]), np.array([0.0], np.float32))
        # as precise as the predictions that evaluation reads
        predicted = float(np.float32(predict(model, query)[0]))
        if self.llm is None:
            return Rating(predicted, predicted, None, 0.0, choice["backbone"])
        known = self.histories.ratings if as_of == "now" else self.histories.training_ratings
        history = known.get(user_id, NO_INTERACTIONS).before_item(item)
        hint = predicted if self.builders["rating"].similar is not None else float("nan")
        request = self.builders["rating"].rating(
            "rating", "serve", Target(user_id, -1, item), history, hint
        )
        row = pd.DataFrame({USER: [user_id], ITEM: [item_id], "prediction": [predicted]})
        interactions = len(self.histories.training_ratings.get(user_id, NO_INTERACTIONS).items)
        weight = mixing.llm_weight(self.variant, choice, np.array([interactions]))
        mixed = mixing.mixed_ratings(row, self._scores(table([request])), weight).iloc[0]
        if not mixed["answered"]:
            return Rating(predicted, predicted, None, 0.0, choice["backbone"])
        return Rating(
            float(mixed["prediction"]),
            predicted,
            float(mixed["llm"]),
            float(weight[0]),
            choice["backbone"],
        )

    def _rank(
        self, task: str, choice: Choice, context: RequestContext, lists: pd.DataFrame
    ) -> tuple[pd.DataFrame, float, bool]:
        """The re-ranked candidates, best first, the LLM's weight, and whether the LLM gave an
        answer.
        """
        if self.llm is None:
            return mixing.backbone_lists(lists, self.config), 0.0, False
        scores = self._scores(self._requests(task, choice, context, lists))
        weight_U = mixing.llm_weight(self.variant, choice, np.array([context.interactions]))
        weights = weight_U if WAVES[source(self.variant)].mixed else None
        ranked = mixing.mixed_lists(lists, scores, weights, self.config)
        return ranked, float(weight_U[0]), bool(ranked["answered"].all())

    def _candidates(self, task: str, context: RequestContext, k: int) -> pd.DataFrame:
        """The LISTS row of the user: as many items as are asked for, k' at least."""
        model = self.models[task]
        assert isinstance(model, Ranker)
        masked = self.matrices.split.masked or task == "direct"
        seen = Ragged.from_lists([context.seen])
        query = Queries(np.array([context.user]), seen, np.array([0]), masked)
        depth = min(max(k, self.config.k_prime), len(self.matrices.items))
        lists = candidate_lists(model, self.matrices, query, depth, self.seed)
        return lists.assign(**{USER: context.user_id})

    def _requests(
        self, task: str, choice: Choice, context: RequestContext, lists: pd.DataFrame
    ) -> pd.DataFrame:
        """What the LLM is asked about the candidates."""
        builder = self.builders[task]
        items = self.matrices.items.get_indexer(lists["items"].iloc[0])[: self.config.k_prime]
        target = Target(context.user_id, context.position, -1)
        requests: list[PromptRequest] = []
        if choice["ranking"] == "listwise":
            rng = listwise_stream(self.seed, task, context.user_id)
            request = builder.listwise(task, "serve", target, context.history, items, rng)
            requests.append(request._replace(template=self.config.listwise_template))
            return in_chunks(table(requests), self.config.candidates_per_prompt)
        history = self.histories.visible_ratings.get(context.user_id, NO_INTERACTIONS)
        for item in items[: self.config.pointwise_candidates]:
            requests.append(builder.rating(task, "serve", target._replace(item=int(item)), history))
        return table(requests)

    def _scores(self, requests: pd.DataFrame) -> pd.DataFrame:
        """The LLM's scores for the items of some requests."""
        assert self.llm is not None
        prompts = rendering.render_table(requests, self.catalogue, self.config.style)
        return llm_scores(prompts.merge(self.llm(prompts), on="prompt_id"))[0]

    def _items(
        self, ranked: pd.DataFrame, lists: pd.DataFrame, answered: bool
    ) -> list[Recommendation]:
        """The re-ranked candidates, then the rest of the backbone's list."""
        places = {item: place for place, item in enumerate(lists["items"].iloc[0], 1)}
        order = ranked.sort_values("rank")
        llm_ranks = dict(zip(order[ITEM], order["rank_llm"], strict=True)) if answered else {}
        ids = [*order[ITEM], *list(places)[len(order) :]]
        numbers = self.matrices.items.get_indexer(ids)
        items = []
        for rank, (item, number) in enumerate(zip(ids, numbers, strict=True), 1):
            llm_rank = llm_ranks.get(item)
            title = str(self.catalogue.titles[number])
            shown = None if llm_rank is None else int(llm_rank)
            items.append(Recommendation(str(item), title, rank, places[item], shown))
        return items

    def _list_tasks(self) -> list[str]:
        return [task for task in self.choices if task != "rating"]

    def _list_task(self, task: str | None, has_history: bool) -> str:
        """The task that answers: the one that is asked for, or the first that can."""
        tasks = self._list_tasks()
        if task is None:
            sequential_first = has_history and "sequential" in tasks
            task = "sequential" if sequential_first else (tasks or ["direct"])[0]
        if task not in tasks:
            raise UnknownError(
                f"this bundle cannot recommend by task {task!r}",
                "task",
                f"it has: {', '.join(tasks) or 'none'}",
            )
        if has_history and task == "direct":
            raise UnknownError(
                "a direct model knows users by id only",
                "task",
                "use the task sequential with a history",
            )
        return task

"""What a paper offers, and how it is found: a paper is a folder raypipe/papers/NAME/ with a file
paper.py.

That file defines `PAPER`, an instance of a subclass of `Paper`. The command line, the server and
the tests know papers by this contract alone. So a new paper is a folder and nothing else. paper.py
stays light: its methods import what is heavy (torch, Ray, pandas) when they are called.
"""

from __future__ import annotations

import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from raypipe import papers, plugins
from raypipe.config import Config
from raypipe.errors import ArtifactError
from raypipe.schema import TASKS
from raypipe.steps.bundle import read_head

if TYPE_CHECKING:
    from raypipe.pipeline.runner import Done
    from raypipe.pipeline.stage import Stage
    from raypipe.pipeline.store import Store

#: the longest list that a recommender gives
MAX_ITEMS = 100


class Option(NamedTuple):
    """An option of the command line that a paper has beside those of all papers, e.g. --tasks."""

    name: str
    help: str


class NewItem(NamedTuple):
    """An item that came after training."""

    item_id: str
    title: str
    text: str = ""
    features: Sequence[str] = ()


class Recommender(Protocol):
    """A bundle in memory. Its answers are named tuples, so that they can be written as JSON."""

    @property
    def tasks(self) -> list[str]:
        """The tasks that it answers."""

    def recommend(
        self,
        user_id: str | None = None,
        history: list[str] | None = None,
        k: int = 10,
        task: str | None = None,
        new_items: Sequence[NewItem] = (),
    ) -> Any:
        """The k best items for a known user or for a history: a named tuple with `items`, best
        first.

        Each item is a named tuple with at least item_id, title and rank.

        Raises:
            UnknownError: the bundle does not have the user, item or task, or takes no new items.
            ValueError: the request contradicts itself.
        """

    def rate(self, user_id: str, item_id: str) -> Any:
        """The predicted rating: a named tuple with at least `prediction`.

        Raises:
            UnknownError: the bundle does not have the user or the item, or predicts no ratings.
        """

    def check(self) -> None:
        """Answer one request; an error says that the bundle cannot serve."""


class Paper(ABC):
    """A paper.

    Attributes:
        name: the name of its folder.
        title: what it is, in a few words.
        Config: the class of its configuration.
        presets: the folder of its presets, one YAML file each.
        options: the options of the command line that it has beside those of all papers.
        backbone_tasks: the tasks whose backbones it fits.
        run_prefix: what the names of its run folders begin with, as in runs/PREFIXtoy.
        example: a setting of its own, as an example for --set.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    Config: ClassVar[type[Config]]
    presets: ClassVar[Path]
    options: ClassVar[tuple[Option, ...]] = ()
    backbone_tasks: ClassVar[tuple[str, ...]] = TASKS
    run_prefix: ClassVar[str] = ""
    example: ClassVar[str] = "seeds=3"

    def settings(self, options: Mapping[str, str]) -> dict[str, Any]:
        """The dotted settings that the paper's own options stand for, e.g. {"tasks": ["direct"]}.

        Args:
            options: the options of `self.options` that were given, with their text.
        """
        return {name: split_names(text) for name, text in options.items()}

    @abstractmethod
    def plan(self, config: Any) -> list[Stage]:
        """The stages of a run, each after its inputs; raises what `check` raises."""

    @abstractmethod
    def check(self, config: Any) -> None:
        """Refuse what cannot work, before anything starts.

        Raises:
            ConfigError: says which setting, and what to do.
        """

    @abstractmethod
    def check_resources(self, config: Any) -> None:
        """Refuse what the connected cluster cannot hold, before the first stage.

        Raises:
            ConfigError: says which setting, and what to do.
        """

    @abstractmethod
    def publish(self, config: Any, store: Store, record: Sequence[Done], began: float) -> str:
        """Write report and bundle of a finished run into its folder; returns a summary.

        Args:
            began: when the run began, in seconds since 1970.
        """

    @abstractmethod
    def recommender(self, bundle: Path) -> Recommender:
        """The recommender of a bundle of this paper.

        Raises:
            ArtifactError: the folder is not a bundle, or one of another format.
        """


def names() -> list[str]:
    """The papers: the public folders of raypipe/papers, sorted; nothing is imported."""
    modules = pkgutil.iter_modules(papers.__path__)
    return sorted(m.name for m in modules if m.ispkg and not m.name.startswith("_"))


def find(name: str) -> Paper:
    """The paper of a folder.

    Raises:
        ConfigError: there is none; the message lists what there is.
    """
    plugins.check_name(name, names(), "paper")
    paper: Paper = plugins.module(papers, f"{name}.paper").PAPER
    return paper


def paper_of(bundle: Path) -> Paper:
    """The paper whose run wrote a bundle.

    Raises:
        ArtifactError: the folder is not a bundle, or one of a paper that this version does not
            have.
    """
    name = read_head(bundle).get("paper", "llama4rec")  # bundles of Llama4Rec name no paper
    if name not in names():
        raise ArtifactError(
            f"the bundle is of the paper {name!r}, which this version does not have",
            str(bundle),
            f"it has {', '.join(names())}",
        )
    return find(name)


def recommender_of(bundle: Path) -> Recommender:
    """The recommender that a bundle holds.

    Raises:
        ArtifactError: the folder is not a bundle that this version reads.
    """
    return paper_of(bundle).recommender(bundle)


def split_names(text: str) -> list[str]:
    """The names of a comma-separated list."""
    return [name.strip() for name in text.split(",")]

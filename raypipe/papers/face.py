"""The Python face of the package, which raypipe/__init__.py offers as `raypipe.run` and so on.

It knows papers by their contract alone, as the command line does.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from raypipe import config as configuration
from raypipe.config import Config
from raypipe.errors import ConfigError
from raypipe.papers import contract

if TYPE_CHECKING:
    from raypipe.data.dataset import Dataset

#: progress, one line at a time
show: Callable[[str], None] = functools.partial(print, flush=True)


class Run(NamedTuple):
    """A finished run.

    Attributes:
        folder: the run folder, a path or a URI.
        summary: the result table as text, and where the report and the bundle are.
    """

    folder: str
    summary: str

    @property
    def bundle(self) -> str:
        """The bundle, for `Recommender` and `serve`."""
        return f"{self.folder}/bundle"

    def report(self) -> dict[str, Any]:
        """The content of report.json, of a run folder on this machine."""
        report: dict[str, Any] = json.loads(Path(self.folder, "report.json").read_text())
        return report


class Recommender:
    """The recommender of a bundle, in this process, whatever its paper.

    Raises:
        ArtifactError: the folder is not a bundle that this version reads.
    """

    def __init__(self, bundle: str | Path) -> None:
        self._recommender = contract.recommender_of(Path(bundle).expanduser())

    @property
    def tasks(self) -> list[str]:
        """The tasks that it answers."""
        return self._recommender.tasks

    def recommend(
        self,
        user_id: str | None = None,
        history: Sequence[str] | None = None,
        k: int = 10,
        task: str | None = None,
        new_items: Sequence[contract.NewItem] = (),
    ) -> Any:
        """The k best items for a known user, or for a history of item ids, oldest first.

        Returns:
            A named tuple with `items`, best first. Each has item_id, title and rank.

        Raises:
            UnknownError: the bundle does not have the user, item or task, or takes no new items.
            ValueError: the request contradicts itself.
        """
        past = None if history is None else list(history)
        return self._recommender.recommend(user_id, past, k, task, new_items)

    def rate(self, user_id: str, item_id: str) -> Any:
        """The predicted rating: a named tuple with at least `prediction`.

        Raises:
            UnknownError: the bundle does not have the user or the item, or predicts no ratings.
        """
        return self._recommender.rate(user_id, item_id)


def load_config(paper: str, preset: str | None = None, **settings: Any) -> Config:
    """The configuration of a run: the defaults, then the preset, then the settings.

    Args:
        paper: llama4rec or reclm.
        preset: the name of a preset, or a YAML file; None: the defaults alone.
        settings: sections as dicts, `llm={"engine": {"name": "transformers"}}`, or dotted keys,
            `**{"llm.engine.name": "transformers"}`. A section that is given in part keeps the rest.

    Raises:
        ConfigError: an unknown paper, preset or setting, or a value that is not possible.
    """
    found = contract.find(paper)
    return configuration.load(found.Config, found.presets, preset, _dotted(found.Config, settings))


def run(
    what: str | Config,
    data: Dataset | None = None,
    out: str | Path | None = None,
    progress: Callable[[str], None] = show,
    **settings: Any,
) -> Run:
    """Run a paper from its data to a report and a bundle; the same call resumes an interrupted run.

    Args:
        what: a configuration of `load_config`; or the name of a paper, with `preset` and settings
            as there.
        data: a dataset of `Dataset.from_frames`. It is saved in the run folder, where workers read
            it.
        out: the run folder (default: runs/NAME-OF-DATA). A URI such as s3://... takes no `data`.
        progress: gets each line about progress.

    Raises:
        RaypipeError: says what is wrong, where, and what to do.
    """
    from raypipe.cluster import session
    from raypipe.pipeline.store import Store
    from raypipe.steps.ray_runner import runner

    began = time.time()
    config = load_config(what, **settings) if isinstance(what, str) else what
    if settings and not isinstance(what, str):
        raise ConfigError(
            "settings stand beside a configuration", "run", "give them to load_config"
        )
    paper = paper_of(config)
    store = Store(str(out) if out else _run_folder(paper, config, data))
    if data is not None:
        config = with_data(config, data, store)
    stages = runner(paper.plan(config), store, progress)
    store.check_writable()
    store.check_space(1.0)
    with session.connected(progress):
        paper.check_resources(config)
        summary = paper.publish(config, store, stages.run(), began)
    progress(summary)
    return Run(store.uri, summary.strip())


def paper_of(config: Config) -> contract.Paper:
    """The paper of a configuration.

    Raises:
        ConfigError: it is the configuration of no paper.
    """
    for name in contract.names():
        paper = contract.find(name)
        if type(config) is paper.Config:
            return paper
    raise ConfigError(
        f"{type(config).__name__} is the configuration of no paper",
        "raypipe.run",
        "make one by raypipe.load_config",
    )


def _dotted(section: type[Config], settings: dict[str, Any], path: str = "") -> dict[str, Any]:
    """Settings by dotted key. A dict that is a section is split; a dict that is a value stays."""
    dotted: dict[str, Any] = {}
    for name, value in settings.items():
        field = section.model_fields.get(name)
        inner = field.annotation if field else None
        if isinstance(value, dict) and isinstance(inner, type) and issubclass(inner, Config):
            dotted |= _dotted(inner, value, f"{path}{name}.")
        else:
            dotted[path + name] = value
    return dotted


def _run_folder(paper: contract.Paper, config: Any, data: Dataset | None) -> str:
    name = "frames" if data is not None else config.data.name.replace("_", "-")
    return f"runs/{paper.run_prefix}{name}"


def with_data(config: Any, data: Dataset, store: Any) -> Any:
    """The configuration with the dataset, which is written into the run folder."""
    if not store.is_local:
        raise ConfigError(
            "a dataset in memory is saved in the run folder, which must be one on disk",
            f"out={store.uri}",
            "save it by data.to_folder(...), and set data.name=folder and data.dir",
        )
    origin = data.to_folder(Path(store.root, "dataset"))
    section = type(config.data)(**{**config.data.model_dump(exclude_unset=True), **origin})
    return config.model_copy(update={"data": section})

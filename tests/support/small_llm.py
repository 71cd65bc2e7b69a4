"""A small untrained LLM, with a tokenizer over the toy titles."""

import pytest

from raypipe.llm.config import EmbeddedConfig

SMALL = EmbeddedConfig(hidden_size=32, intermediate_size=64, layers=1, heads=1, pieces=400)


@pytest.fixture(scope="session")
def llm(toy, tmp_path_factory):
    """The folder of the LLM, and the titles that are one token each."""
    from raypipe.llm import embedded

    folder = tmp_path_factory.mktemp("llm")
    corpus = [*toy.dataset.items["title"], *toy.dataset.items["text"]]
    titles = list(toy.dataset.items["title"])[:50]
    embedded.build(corpus, titles, SMALL, 0, folder)
    return str(folder), titles

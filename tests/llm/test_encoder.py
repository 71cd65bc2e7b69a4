"""The text encoder, as it comes with its package."""

import numpy as np
import pandas as pd
import pytest

from raypipe import extras
from raypipe.errors import ConfigError
from raypipe.llm import encoder

TEXTS = ["a western film", "a film about cowboys", "tax law"]


@pytest.fixture(scope="module")
def embedded():
    return encoder.Encoder("embedded", max_tokens=8, batch_size=2)


def test_texts_of_like_meaning_have_like_vectors_whatever_their_batch(embedded):
    vectors = embedded.encode(TEXTS)
    assert vectors.dtype == np.float32 and vectors.shape[0] == 3
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert unit[0] @ unit[1] > unit[0] @ unit[2]
    alone = np.concatenate([embedded.encode([text]) for text in TEXTS])
    assert np.allclose(vectors, alone, atol=1e-5)


def test_a_text_is_cut_at_the_largest_number_of_tokens(embedded):
    words = "one two three four five six seven eight nine"
    first, second, other = embedded.encode([words, f"{words} tax law", f"zero {words}"])
    assert np.allclose(first, second, atol=1e-5) and not np.allclose(first, other, atol=1e-3)


def test_an_actor_keeps_the_hash_beside_the_vector(embedded):
    actor = encoder._Actor("embedded", 8, 2)
    encoded = actor(pd.DataFrame({"hash": ["x", "y"], "text": TEXTS[:2]}))
    assert encoded["hash"].tolist() == ["x", "y"]
    assert np.allclose(np.stack(encoded["vector"]), embedded.encode(TEXTS[:2]), atol=1e-5)


def test_an_encoder_without_its_package_is_refused(monkeypatch):
    monkeypatch.setitem(extras.MODULES, "rl", ("no_such_module",))
    with pytest.raises(ConfigError, match=r"no_such_module\n.*encoder\.source"):
        encoder.Encoder("embedded", 8, 2)
    assert encoder.encoder_path("org/model") == "org/model"

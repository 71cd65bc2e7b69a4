"""LLMs behind an OpenAI-compatible endpoint."""

import time

import pandas as pd
import pytest
from pydantic import SecretStr

from raypipe.errors import ConfigError
from raypipe.llm import endpoint as endpoint_engine
from raypipe.llm.config import EndpointConfig
from raypipe.papers.llama4rec.config import load


def at_endpoint(url, model, prompts=("which?",), **settings):
    actor = endpoint_engine._Actor(
        EndpointConfig(url=url, model=model, requests_per_minute=60_000, **settings),
        SecretStr("key-7"),
    )
    return actor(pd.DataFrame([{"prompt_id": str(n), "prompt": p} for n, p in enumerate(prompts)]))


def test_answers_come_in_order_with_key_and_tokens(endpoint):
    endpoint.answers["m"] = "B, A"
    answers = at_endpoint(endpoint.url, "m", ["one", "two", "three"])
    assert answers["prompt_id"].tolist() == ["0", "1", "2"] and set(answers["answer"]) == {"B, A"}
    assert answers["tokens_in"].tolist() == [10] * 3 and answers["tokens_out"].tolist() == [3] * 3
    key, body = endpoint.requests[0]
    assert key == "Bearer key-7" and body["temperature"] == 0 and len(endpoint.requests) == 3
    actor = endpoint_engine._Actor(EndpointConfig(url=endpoint.url, model="m"), SecretStr("key-7"))
    assert "key-7" not in repr(vars(actor))


def test_temporary_failures_are_repeated_and_lasting_ones_give_an_empty_answer(endpoint):
    endpoint.answers["busy"] = [429, 503, "A, B"]
    assert at_endpoint(endpoint.url, "busy")["answer"].tolist() == ["A, B"]
    endpoint.answers["broken"] = 500
    before = len(endpoint.requests)
    assert at_endpoint(endpoint.url, "broken", retries=2)["answer"].tolist() == [""]
    assert len(endpoint.requests) - before == 3


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_key_or_model_ends_the_run_with_a_message(endpoint, status):
    endpoint.answers["m"] = status
    with pytest.raises(ConfigError, match=f"status {status}") as error:
        at_endpoint(endpoint.url, "m")
    assert "OPENAI_API_KEY" in str(error.value) and "key-7" not in str(error.value)


def test_requests_keep_the_rate_limit(endpoint):
    endpoint.answers["m"] = "A"
    began = time.monotonic()
    asker = endpoint_engine._Actor(
        EndpointConfig(url=endpoint.url, model="m", requests_per_minute=1200), SecretStr("k")
    )
    asker(pd.DataFrame([{"prompt_id": str(n), "prompt": "p"} for n in range(5)]))
    assert time.monotonic() - began >= 4 * 60 / 1200


def test_an_address_with_a_password_is_refused():
    with pytest.raises(ConfigError, match="without a password"):
        load("toy", {"external_llm": {"url": "https://me:secret@host/v1", "model": "m"}})

"""An OpenAI-compatible endpoint as an engine.

Requests run concurrently in one Ray Data actor, at the endpoint's rate limit. The `openai` client
repeats requests that fail temporarily (rate limits, time-outs, server errors). A request that keeps
failing returns an empty answer, which parsers reject as "no_answer". A wrong address, key or model
ends the run.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

import pandas as pd
from pydantic import SecretStr

from raypipe.errors import ConfigError
from raypipe.llm.config import EndpointConfig
from raypipe.llm.engine import PromptRow, completion

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from ray.data import Dataset


class _Actor:
    """Sends batches of PROMPTS rows to the endpoint."""

    def __init__(self, config: EndpointConfig, key: SecretStr) -> None:
        self.config, self.key = config, key
        self.next_request = 0.0

    def __call__(self, batch: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame(asyncio.run(self.answer_batch(batch)))

    async def answer_batch(self, batch: pd.DataFrame) -> list[dict[str, Any]]:
        """COMPLETIONS rows of a batch, in its order."""
        from openai import AsyncOpenAI

        config = self.config
        concurrent = asyncio.Semaphore(config.max_concurrent_requests)
        async with AsyncOpenAI(
            base_url=config.url,
            api_key=self.key.get_secret_value(),
            max_retries=config.retries,
            timeout=config.timeout_seconds,
        ) as client:

            async def answer_in_turn(row: PromptRow) -> dict[str, Any]:
                async with concurrent:
                    await self.wait_for_turn()
                    return await self.answer(client, row)

            answers = [answer_in_turn(row) for row in batch.itertuples()]
            return list(await asyncio.gather(*answers))

    async def wait_for_turn(self) -> None:
        """Wait until the rate limit allows another request."""
        start = max(self.next_request, time.monotonic())
        self.next_request = start + 60 / self.config.requests_per_minute
        await asyncio.sleep(start - time.monotonic())

    async def answer(self, client: AsyncOpenAI, row: PromptRow) -> dict[str, Any]:
        """A COMPLETIONS row; empty if all attempts failed.

        Raises:
            ConfigError: the endpoint refuses the address, the key or the model.
        """
        import openai

        try:
            response = await client.chat.completions.create(
                model=self.config.model,
                messages=[{"role": "user", "content": row.prompt}],
                temperature=0,
                max_tokens=self.config.max_tokens,
            )
        except (
            openai.AuthenticationError,
            openai.PermissionDeniedError,
            openai.NotFoundError,
        ) as error:
            raise ConfigError(
                f"the endpoint refuses: {type(error).__name__}, status {error.status_code}",
                f"{self.config.url}, model {self.config.model}",
                "check address, model and the key in the environment variable "
                f"{self.config.key_variable}",
            ) from None
        except openai.OpenAIError:
            return completion(row.prompt_id, "", [], 0, 0, time.time())
        text = response.choices[0].message.content or ""
        tokens_in = tokens_out = 0
        if response.usage:
            tokens_in = response.usage.prompt_tokens
            tokens_out = response.usage.completion_tokens
        return completion(row.prompt_id, text, [], tokens_in, tokens_out, time.time())


class Engine:
    """An endpoint with the interface of an engine; it returns text and no log-probabilities."""

    def __init__(self, config: EndpointConfig) -> None:
        self.config = config

    def apply(self, prompts: Dataset) -> Dataset:
        from ray.data import ActorPoolStrategy

        # an argument of the actor: Ray shows configurations and environment variables
        key = SecretStr(os.environ.get(self.config.key_variable) or "none")
        return prompts.map_batches(
            _Actor,
            fn_constructor_args=(self.config, key),
            batch_format="pandas",
            batch_size=max(16, 4 * self.config.max_concurrent_requests),
            compute=ActorPoolStrategy(size=1),
            num_cpus=0.5,
        )

"""Any OpenAI-compatible endpoint as an engine: the model stays where it is, prompts and answers travel.

Requests run side by side in one Ray Data actor, paced to the endpoint's limit; the `openai` client repeats those that fail for
a reason that passes (rate limits, time-outs, server errors). One that fails for good comes back empty and is rejected as
"no_answer"; a wrong address, key or model ends the run.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import pandas as pd
from pydantic import SecretStr

from raypipe.errors import ConfigError
from raypipe.llm.config import EndpointConfig
from raypipe.llm.engine import completion


class _Asker:
    def __init__(self, config: EndpointConfig, key: SecretStr) -> None:
        self.config, self.key, self.next = config, key, 0.0

    def __call__(self, batch: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame(asyncio.run(self.ask(batch)))

    async def ask(self, batch: pd.DataFrame) -> list[dict[str, Any]]:
        """COMPLETIONS rows of a batch, in its order."""
        from openai import AsyncOpenAI

        config, places = self.config, asyncio.Semaphore(self.config.at_once)
        async with AsyncOpenAI(
            base_url=config.url,
            api_key=self.key.get_secret_value(),
            max_retries=config.retries,
            timeout=config.timeout_seconds,
        ) as client:

            async def one(row: Any) -> dict[str, Any]:
                async with places:
                    await self.turn()
                    return await self.answer(client, row)

            return list(await asyncio.gather(*(one(row) for row in batch.itertuples())))

    async def turn(self) -> None:
        """Wait until the pace allows another request."""
        at = max(self.next, time.monotonic())
        self.next = at + 60 / self.config.requests_per_minute
        await asyncio.sleep(at - time.monotonic())

    async def answer(self, client: Any, row: Any) -> dict[str, Any]:
        """One COMPLETIONS row; empty where the endpoint gave no answer after all retries."""
        import openai

        try:
            got = await client.chat.completions.create(
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
                f"check address, model and the key in the environment variable {self.config.key_variable}",
            ) from None
        except openai.OpenAIError:
            return completion(row.prompt_id, "", [], 0, 0, time.time())
        used = got.usage
        text = got.choices[0].message.content or ""
        read, written = (used.prompt_tokens, used.completion_tokens) if used else (0, 0)
        return completion(row.prompt_id, text, [], read, written, time.time())


class Engine:
    """An endpoint behind the interface of all engines; it writes text, and gives no log-probabilities."""

    def __init__(self, config: EndpointConfig) -> None:
        self.config = config

    def apply(self, prompts: Any) -> Any:
        from ray.data import ActorPoolStrategy

        # the key goes to the actor as an argument: neither in a configuration nor in an environment that Ray shows
        key = SecretStr(os.environ.get(self.config.key_variable) or "none")
        return prompts.map_batches(
            _Asker,
            fn_constructor_args=(self.config, key),
            batch_format="pandas",
            batch_size=max(16, 4 * self.config.at_once),
            compute=ActorPoolStrategy(size=1),
            num_cpus=0.5,
        )

"""Settings of the LLM engines, of the embedded LLM, and of an endpoint."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from raypipe.config import Config


class EmbeddedConfig(Config):
    """The small LLaMA built from the run's own corpus."""

    hidden_size: int = Field(128, ge=8, description="width of the hidden states")
    intermediate_size: int = Field(384, ge=8, description="width of the feed-forward layers")
    layers: int = Field(2, ge=1, description="transformer layers")
    heads: int = Field(4, ge=1, description="attention heads")
    pieces: int = Field(2048, ge=300, description="vocabulary of word pieces")
    titles: int = Field(
        20000, ge=0, description="most popular titles that get a token of their own"
    )
    epochs: int = Field(
        6, ge=1, description="epochs of language-modelling before instruction tuning"
    )
    batch_size: int = Field(32, ge=1, description="documents a step")
    learning_rate: float = Field(3e-3, gt=0, description="peak learning rate of language-modelling")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout rate in training")

    @model_validator(mode="after")
    def _head_size(self) -> EmbeddedConfig:
        if self.hidden_size % self.heads or self.hidden_size // self.heads % 32:
            raise ValueError(
                "hidden_size / heads must be a multiple of 32 for vLLM's kernels, "
                f"not {self.hidden_size / self.heads:g}"
            )
        return self


class EngineConfig(Config):
    """The engine that generates."""

    name: Literal["vllm", "transformers", "scripted"] = Field(
        "vllm", description="scripted: a stand-in for tests, without a model"
    )
    concurrency: int = Field(1, ge=1, description="engine replicas")
    tensor_parallel: int = Field(1, ge=1, description="devices of one engine replica")
    batch_size: int = Field(64, ge=1, description="prompts that `transformers` reads at once")
    max_num_seqs: int = Field(128, ge=1, description="prompts that vLLM processes at the same time")
    max_batched_tokens: int = Field(8192, ge=64, description="tokens of one step of vLLM")
    kv_cache_gib: int = Field(1, ge=1, description="CPU only")
    dtype: Literal["float32", "bfloat16", "auto"] = Field(
        "auto", description="number format; auto: float32 on a CPU, on a GPU that of the model"
    )
    patience_seconds: float = Field(
        900,
        gt=0,
        description="an engine fails after this time without any answer, its start included",
    )


class EndpointConfig(Config):
    """An OpenAI-compatible endpoint."""

    renamed_keys: ClassVar[dict[str, str]] = {"at_once": "max_concurrent_requests"}
    url: str = Field(description="base address, e.g. https://api.openai.com/v1")
    model: str = Field(description="name of the model at the endpoint")
    key_variable: str = Field(
        "OPENAI_API_KEY",
        description="environment variable that holds the key; the key itself is never a setting",
    )
    requests_per_minute: float = Field(
        60, gt=0, description="largest number of requests per minute"
    )
    max_concurrent_requests: int = Field(
        8, ge=1, description="requests that wait for their answer at the same time"
    )
    retries: int = Field(5, ge=0, description="repetitions of a request that failed temporarily")
    timeout_seconds: float = Field(60, gt=0, description="time limit of a request")
    max_tokens: int = Field(64, ge=1, description="length of an answer")
    dollars_in: float = Field(0.0, ge=0, description="price of a million prompt tokens")
    dollars_out: float = Field(0.0, ge=0, description="price of a million written tokens")
    dry_run: bool = Field(
        False, description="send no requests: print what they would cost, and stop"
    )

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        if not url.startswith(("http://", "https://")) or "@" in url:
            raise ValueError(
                "an address that begins with http:// or https://, without a password in it"
            )
        return url

"""Settings for training an LLM."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from raypipe.config import Config


class TrainingConfig(Config):
    """How an LLM is trained (L30, L31)."""

    epochs: int = Field(2, ge=1, description="passes over the training examples")
    learning_rate: float = Field(5e-4, gt=0, description="peak learning rate")
    batch_size: int = Field(16, ge=1, description="examples per step, over all workers")
    warmup_steps: int = Field(
        50, ge=0, description="steps in which the learning rate rises; at most a tenth of all"
    )
    max_length: int = Field(
        384, ge=32, description="context in tokens; longer prompts are refused, not cut"
    )
    zero_stage: Literal[0, 1, 2, 3] | None = Field(
        None,
        description="DeepSpeed's ZeRO stage; none: 3 (L31), or 0 for an LLM of less than "
        "100 M parameters, which sharding would slow down",
    )
    workers: int | None = Field(
        None,
        ge=1,
        description="Ray Train workers; none: one per GPU; on CPUs two for a small LLM, "
        "one for others",
    )

"""The loop that tunes an LLM on texts or instructions: DeepSpeed ZeRO, AdamW, cosine (L30, L31).

The loss of a batch is the mean over all its answer tokens, whichever worker holds them: the number
of workers changes the result only by rounding.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from raypipe.seeding import derive, generator
from raypipe.tuning import chat
from raypipe.tuning.training_run import Report

if TYPE_CHECKING:
    from deepspeed import DeepSpeedEngine

#: parameters from which an LLM is sharded: on two cores the small one trains 1.6 times faster whole
SHARDED = 100_000_000


class Settings(NamedTuple):
    """The settings of the loop."""

    epochs: int
    learning_rate: float
    batch_size: int
    warmup_steps: int
    zero_stage: int
    seed: int
    dropout: float = 0.0
    weight_decay: float = 0.01


class Worker(NamedTuple):
    """This process among the others."""

    rank: int
    world: int
    device: torch.device


@dataclass(frozen=True)
class Run:
    """What the loop shares with the cluster.

    Args:
        worker: this process.
        report: gets step, steps, epoch, loss and tokens_per_second, some twenty times in all.
        save: `save(write, step)` after every step; it calls `write(folder)` if a checkpoint is due,
            and then every worker writes its shard.
        resume: the folder of the last checkpoint, written with the same number of workers.
    """

    worker: Worker
    report: Report
    save: Callable[[Callable[[Path], None], int], None]
    resume: Path | None


class AnswerLoss(nn.Module):
    """A causal LM whose forward pass returns the summed cross-entropy of the labelled tokens.

    Logits are computed only for those.
    """

    def __init__(self, model: nn.Module, dropout: float) -> None:
        super().__init__()
        self.model: Any = model
        self.dropout = dropout

    def forward(
        self, ids_BT: torch.Tensor, mask_BT: torch.Tensor, labels_BT: torch.Tensor
    ) -> torch.Tensor:
        embedded = F.dropout(self.model.get_input_embeddings()(ids_BT), self.dropout, self.training)
        hidden = self.model.model(inputs_embeds=embedded, attention_mask=mask_BT).last_hidden_state
        learn = labels_BT[:, 1:] != chat.IGNORED
        chosen = F.dropout(hidden[:, :-1][learn], self.dropout, self.training)
        return F.cross_entropy(
            self.model.lm_head(chosen).float(), labels_BT[:, 1:][learn], reduction="sum"
        )


def cosine(step: int, steps: int, warmup: int, peak: float) -> float:
    """The learning rate at a step: linear warm-up, then half a cosine down to zero.

    The warm-up takes at most a tenth of all steps.
    """
    warmup = min(warmup, max(1, steps // 10))
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _checkpoint(folder: Path, engine: DeepSpeedEngine, step: int) -> None:
    engine.save_checkpoint(str(folder), tag="state", client_state={"step": step})


def deepspeed_config(settings: Settings, world: int, cuda: bool) -> dict[str, Any]:
    """DeepSpeed's configuration.

    Small tensors stay whole on every worker: gathering them costs more than it saves.
    """
    return {
        "train_micro_batch_size_per_gpu": max(1, settings.batch_size // world),
        "gradient_accumulation_steps": 1,
        "gradient_clipping": 1.0,
        "bf16": {"enabled": cuda},
        "zero_optimization": {
            "stage": settings.zero_stage,
            "stage3_gather_16bit_weights_on_model_save": True,
            "stage3_param_persistence_threshold": 100_000,
            "overlap_comm": cuda,
        },
        "optimizer": {
            "type": "AdamW",
            "params": {
                "lr": settings.learning_rate,
                "weight_decay": settings.weight_decay,
                "betas": [0.9, 0.98],
                # DeepSpeed's own is compiled at the start, which needs nvcc
                "torch_adam": True,
                "fused": cuda,
            },
        },
        "steps_per_print": 10**9,
        "zero_allow_untested_optimizer": True,
    }


def zero_stage(configured: int | None, model: str) -> int:
    """The ZeRO stage: the configured one, else 3 (L31), or 0 if the LLM is small."""
    if configured is not None:
        return configured
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        whole = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model))
    return 3 if sum(p.numel() for p in whole.parameters()) >= SHARDED else 0


def without_shared_memory() -> None:
    """Keep DeepSpeed on a CPU from compiling an operation that training does not use.

    A worker killed while compiling leaves a lock behind, and every later run waits for it.
    """
    import deepspeed

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def tune(
    model: nn.Module,
    padding: int,
    examples: Sequence[chat.Example],
    settings: Settings,
    run: Run,
) -> dict[str, torch.Tensor] | None:
    """Tune `model`.

    Args:
        padding: token id that fills up short examples.

    Returns:
        The full state dict on worker 0, else None.
    """
    worker = run.worker
    torch.manual_seed(derive(settings.seed, "tune"))
    engine = _start_engine(AnswerLoss(model, settings.dropout), settings, worker)
    done = 0
    if run.resume is not None:
        _, client = engine.load_checkpoint(str(run.resume), tag="state")
        done = client["step"]
    batches = _batches(examples, settings)
    steps = len(batches)
    per_epoch = math.ceil(len(examples) / settings.batch_size)
    interval = max(1, steps // 20)
    progress = _Progress(run.report)
    engine.train()
    for step, batch in enumerate(batches, start=1):
        if step <= done:
            continue
        torch.manual_seed(derive(settings.seed, "step", step, worker.rank))
        for group in engine.optimizer.param_groups:
            group["lr"] = cosine(step - 1, steps, settings.warmup_steps, settings.learning_rate)
        loss = _step(engine, batch, padding, worker)
        progress.add(loss, sum(len(example.ids) for example in batch))
        if step % interval == 0 or step == steps:
            progress.show({"step": step, "steps": steps, "epoch": -(-step // per_epoch)})
        run.save(functools.partial(_checkpoint, engine=engine, step=step), step)
    return _state_dict(engine, settings, worker)


def _start_engine(model: AnswerLoss, settings: Settings, worker: Worker) -> DeepSpeedEngine:
    import deepspeed

    cuda = worker.device.type == "cuda"
    if not cuda:
        without_shared_memory()
    engine, *_ = deepspeed.initialize(
        model=model,
        model_parameters=[p for p in model.parameters() if p.requires_grad],
        config=deepspeed_config(settings, worker.world, cuda),
    )
    return engine


def _batches(examples: Sequence[chat.Example], settings: Settings) -> list[list[chat.Example]]:
    """The batches of all epochs, in order."""
    batches: list[list[chat.Example]] = []
    for epoch in range(settings.epochs):
        rng = generator(settings.seed, "order", epoch)
        batches += chat.batches(examples, settings.batch_size, rng)
    return batches


def _step(
    engine: DeepSpeedEngine, batch: list[chat.Example], padding: int, worker: Worker
) -> float:
    """One step on this worker's part of a batch; returns its share of the loss."""
    part = batch[worker.rank :: worker.world]
    ids, mask, labels = chat.collate(part or batch[:1], padding)
    device = worker.device
    scale = worker.world / chat.learned_tokens(batch)
    loss = engine(ids.to(device), mask.to(device), labels.to(device)) * scale
    loss = loss * (1.0 if part else 0.0)
    engine.backward(loss)
    engine.step()
    return float(loss.detach())


class _Progress:
    """Mean loss and speed since the last report."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.started, self.loss, self.tokens, self.steps = time.perf_counter(), 0.0, 0, 0

    def add(self, loss: float, tokens: int) -> None:
        self.loss += loss
        self.tokens += tokens
        self.steps += 1

    def show(self, line: dict[str, float]) -> None:
        seconds = time.perf_counter() - self.started
        speed = self.tokens / seconds
        self.report({**line, "loss": self.loss / self.steps, "tokens_per_second": speed})
        self._reset()

    def _reset(self) -> None:
        self.started, self.loss, self.tokens, self.steps = time.perf_counter(), 0.0, 0, 0


def _state_dict(
    engine: DeepSpeedEngine, settings: Settings, worker: Worker
) -> dict[str, torch.Tensor] | None:
    """The whole model's weights on worker 0; float32 on CPUs."""
    if settings.zero_stage == 3:
        state = engine._zero3_consolidated_16bit_state_dict()  # all workers take part
    else:
        state = engine.module.state_dict()
    if worker.rank:
        return None
    if worker.device.type == "cuda":
        return {name.removeprefix("model."): values for name, values in state.items()}
    return {name.removeprefix("model."): values.float() for name, values in state.items()}

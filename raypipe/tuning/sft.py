"""The one loop that tunes LLMs, for language-modelling and for instructions: DeepSpeed ZeRO, AdamW, cosine schedule (L30, L31).

The loop learns where it runs only through `report` and `save`. The loss of a batch is the mean over all its answer tokens,
whatever worker holds them, so the number of workers changes the result by rounding only.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from raypipe.seeding import derive, generator
from raypipe.tuning import chat

#: parameters from which on an LLM is sharded: on two cores the embedded one learns 1.6 times as fast whole
SHARDED = 100_000_000


class Settings(NamedTuple):
    """What the loop needs to know."""

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


class AnswerLoss(nn.Module):
    """A causal LM whose forward pass gives the summed cross-entropy of the labelled tokens; logits are made for those alone."""

    def __init__(self, model: Any, dropout: float) -> None:
        super().__init__()
        self.model, self.dropout = model, dropout

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
    """Learning rate at a step: linear warm-up, then half a cosine down to zero; a warm-up of over a tenth of all is cut to it."""
    warmup = min(warmup, max(1, steps // 10))
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _checkpoint(folder: Path, engine: Any, step: int) -> None:
    engine.save_checkpoint(str(folder), tag="state", client_state={"step": step})


def deepspeed_config(settings: Settings, world: int, cuda: bool) -> dict[str, Any]:
    """DeepSpeed's configuration. Small tensors stay whole on every worker: gathering them costs more than it saves."""
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
                "torch_adam": True,  # DeepSpeed's own is compiled at the start, for which a machine would need nvcc
                "fused": cuda,
            },
        },
        "steps_per_print": 10**9,
        "zero_allow_untested_optimizer": True,
    }


def zero_stage(asked: int | None, model: str) -> int:
    """The ZeRO stage for an LLM folder or hub id: as asked for, else 3 (L31), or 0 where there is too little to shard."""
    if asked is not None:
        return asked
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        whole = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model))
    return 3 if sum(p.numel() for p in whole.parameters()) >= SHARDED else 0


def without_shared_memory() -> None:
    """Keep DeepSpeed on a CPU from compiling a shared-memory op that training does not use.

    A worker killed meanwhile would leave a lock behind on which every later run waits for ever.
    """
    import deepspeed

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def tune(
    model: Any,
    padding: int,
    examples: Sequence[chat.Example],
    settings: Settings,
    worker: Worker,
    report: Callable[[dict[str, float]], None],
    save: Callable[[Callable[[Path], None], int], None],
    resume: Path | None,
) -> dict[str, torch.Tensor] | None:
    """Tune `model`; returns its full state dict on worker 0, else None.

    Args:
        report: gets step, steps, loss, tokens per second, some twenty times in all.
        save: is given a function that writes a checkpoint (every worker its shard), and the step; it decides whether to call.
        resume: a folder that such a function wrote, with the same number of workers.
    """
    import deepspeed

    torch.manual_seed(derive(settings.seed, "tune"))
    wrapped = AnswerLoss(model, settings.dropout)
    cuda = worker.device.type == "cuda"
    if not cuda:
        without_shared_memory()
    engine, *_ = deepspeed.initialize(
        model=wrapped,
        model_parameters=[p for p in wrapped.parameters() if p.requires_grad],
        config=deepspeed_config(settings, worker.world, cuda),
    )
    per_epoch = math.ceil(len(examples) / settings.batch_size)
    done = 0
    if resume is not None:
        _, client = engine.load_checkpoint(str(resume), tag="state")
        done = client["step"]
    step, steps, shown, tokens, summed = 0, 0, time.perf_counter(), 0, 0.0
    plan = [
        chat.batches(examples, settings.batch_size, generator(settings.seed, "order", e))
        for e in range(settings.epochs)
    ]
    steps = sum(map(len, plan))
    every = max(1, steps // 20)
    count = 0
    engine.train()
    for epoch in plan:
        for batch in epoch:
            step += 1
            if step <= done:
                continue
            torch.manual_seed(derive(settings.seed, "step", step, worker.rank))
            for group in engine.optimizer.param_groups:
                group["lr"] = cosine(step - 1, steps, settings.warmup_steps, settings.learning_rate)
            own = batch[worker.rank :: worker.world]
            learned = chat.learned_tokens(batch)
            ids, mask, labels = (
                t.to(worker.device) for t in chat.collate(own or batch[:1], padding)
            )
            loss = engine(ids, mask, labels) * (worker.world / learned) * (1.0 if own else 0.0)
            engine.backward(loss)
            engine.step()
            summed, count, tokens = (
                summed + float(loss.detach()),
                count + 1,
                tokens + sum(len(e.ids) for e in batch),
            )
            if step % every == 0 or step == steps:
                now = time.perf_counter()
                report(
                    {
                        "step": step,
                        "steps": steps,
                        "epoch": -(-step // per_epoch),
                        "loss": summed / count,
                        "tokens_per_second": tokens / (now - shown),
                    }
                )
                shown, tokens, summed, count = now, 0, 0.0, 0
            save(functools.partial(_checkpoint, engine=engine, step=step), step)
    if settings.zero_stage == 3:
        state = engine._zero3_consolidated_16bit_state_dict()
    else:
        state = engine.module.state_dict()
    if worker.rank:
        return None
    return {k.removeprefix("model."): v.float() if not cuda else v for k, v in state.items()}

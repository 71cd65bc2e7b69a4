"""TRL's trainers under Ray Train: SFT and the reward model with DeepSpeed, on GPUs and on CPUs alike; LoRA by peft.

A trainer learns where it runs through a `Crew`, to which it hands checkpoints when they are due.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch

from raypipe.seeding import generator
from raypipe.tuning import sft
from raypipe.tuning.chat import by_length
from raypipe.tuning.dialogue import Labelled


class Crew(Protocol):
    """This process among those that train, and what takes their checkpoints."""

    rank: int
    world: int
    device: torch.device

    def due(self, step: int) -> bool: ...

    def checkpoint(self, write: Callable[[Path], object]) -> None: ...

    def broadcast_folder(self, folder: Path) -> None: ...


class Adapter(NamedTuple):
    """LoRA; rank 0: all parameters are tuned."""

    rank: int
    alpha: int
    dropout: float


def load(cls: Any, model: str, device: torch.device, **more: Any) -> Any:
    """A model of a transformers class, in the precision that its device trains in."""
    return cls.from_pretrained(
        model, dtype="bfloat16" if device.type == "cuda" else "float32", **more
    )


def padded(tokenizer: Any) -> Any:
    """The tokenizer with a padding token: the end token where it has none."""
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def lora(adapter: Adapter, task: str) -> Any:
    """peft's configuration over all linear layers, or None."""
    if not adapter.rank:
        return None
    from peft import LoraConfig

    return LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        task_type=task,
        target_modules="all-linear",
    )


def arguments(cls: Any, settings: sft.Settings, crew: Crew, folder: str, **more: Any) -> Any:
    """Arguments of one of TRL's trainers, which DeepSpeed shards; on a CPU that must be told before accelerate has a state."""
    cuda = crew.device.type == "cuda"
    made: dict[str, Any] = {
        "output_dir": folder,
        "per_device_train_batch_size": max(1, settings.batch_size // crew.world),
        "num_train_epochs": settings.epochs,
        "learning_rate": settings.learning_rate,
        "weight_decay": settings.weight_decay,
        "adam_beta2": 0.98,
        "max_grad_norm": 1.0,
        "lr_scheduler_type": "cosine",
        "warmup_steps": settings.warmup_steps,
        "seed": settings.seed % 2**32,
        "bf16": cuda,
        "gradient_checkpointing": False,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
        "logging_strategy": "steps",
        "logging_steps": 10,
    }
    made["deepspeed"] = sft.deepspeed_config(settings, crew.world, cuda)
    if not cuda:
        sft.without_shared_memory()
        os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
        from accelerate.state import AcceleratorState, PartialState

        AcceleratorState._reset_state(reset_partial_state=True)  # of a trainer before this one
        PartialState(backend="gloo")
        made["accelerator_config"] = {"use_configured_state": True}
    return cls(**{**made, **more})


def keeper(crew: Crew, report: Callable[[dict[str, float]], None]) -> Any:
    """A callback that hands checkpoints to the crew when they are due, and reports loss by step."""
    from transformers import TrainerCallback

    class Keeper(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            control.should_save = crew.due(state.global_step)

        def on_save(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            made = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            crew.checkpoint(lambda to: shutil.copytree(made, to, dirs_exist_ok=True))
            shutil.rmtree(made, ignore_errors=True)

        def on_log(
            self, args: Any, state: Any, control: Any, logs: Any = None, **more: Any
        ) -> None:
            if logs and "loss" in logs:
                report(
                    {
                        "step": state.global_step,
                        "steps": state.max_steps,
                        "loss": float(logs["loss"]),
                        **_accuracy(logs),
                    }
                )

    return Keeper()


def _accuracy(logs: dict[str, Any]) -> dict[str, float]:
    return {"accuracy": float(logs["accuracy"])} if "accuracy" in logs else {}


class ByLength(torch.utils.data.Sampler[int]):
    """The order of chat.by_length, which depends on the seed and the epoch alone, so that a training goes on from a checkpoint with
    what it had left.
    """

    def __init__(self, examples: Sequence[Labelled], settings: sft.Settings) -> None:
        self.lengths, self.settings, self.epoch = [len(e.ids) for e in examples], settings, 0

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        made = by_length(
            self.lengths,
            self.settings.batch_size,
            generator(self.settings.seed, "order", self.epoch),
        )
        for rows in sorted(
            made, key=len, reverse=True
        ):  # the short one last: it would shift the batches after it
            yield from rows.tolist()

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before each epoch."""
        self.epoch = epoch


def dialogues(
    model: str,
    examples: Sequence[Labelled],
    settings: sft.Settings,
    adapter: Adapter,
    crew: Crew,
    report: Callable[[dict[str, float]], None],
    resume: Path | None,
    folder: Path,
) -> None:
    """Tune a causal LLM with TRL's SFTTrainer on labelled tokens; worker 0 writes the tuned LLM to `folder`.

    Args:
        resume: a checkpoint that the crew kept.
    """
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig, SFTTrainer

    class Trainer(SFTTrainer):
        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return ByLength(examples, settings)

    columns = {"input_ids": [e.ids for e in examples], "labels": [e.labels for e in examples]}
    with tempfile.TemporaryDirectory(prefix="raypipe-") as scratch:
        # the loss over all logits: TRL's default takes a model for sharded by ZeRO-3 wherever a configuration is there
        args = arguments(SFTConfig, settings, crew, scratch, max_length=None, loss_type="nll")
        peft = lora(adapter, "CAUSAL_LM")
        _train(
            Trainer,
            args,
            AutoModelForCausalLM,
            {},
            model,
            columns,
            peft,
            crew,
            report,
            resume,
            folder,
        )


def rewards(
    model: str,
    chosen: Sequence[list[int]],
    rejected: Sequence[list[int]],
    settings: sft.Settings,
    adapter: Adapter,
    crew: Crew,
    report: Callable[[dict[str, float]], None],
    resume: Path | None,
    folder: Path,
) -> None:
    """Train a reward model with TRL's RewardTrainer: -log sigmoid(r(chosen) - r(rejected)) (RecLM R19)."""
    from transformers import AutoModelForSequenceClassification
    from trl import RewardConfig, RewardTrainer

    columns = {"chosen_ids": list(chosen), "rejected_ids": list(rejected)}
    with tempfile.TemporaryDirectory(prefix="raypipe-") as scratch:
        args = arguments(RewardConfig, settings, crew, scratch, max_length=None)
        peft = lora(adapter, "SEQ_CLS")
        _train(
            RewardTrainer,
            args,
            AutoModelForSequenceClassification,
            {"num_labels": 1},
            model,
            columns,
            peft,
            crew,
            report,
            resume,
            folder,
        )


def _train(
    trainer_of: Any,
    args: Any,
    network_of: Any,
    shape: dict[str, Any],
    model: str,
    columns: dict[str, Any],
    peft: Any,
    crew: Crew,
    report: Callable[[dict[str, float]], None],
    resume: Path | None,
    folder: Path,
) -> None:
    from datasets import Dataset
    from transformers import AutoTokenizer

    tokenizer = padded(AutoTokenizer.from_pretrained(model))
    more = {**shape, "pad_token_id": tokenizer.pad_token_id} if shape else {}
    trainer = trainer_of(
        model=load(network_of, model, crew.device, **more),
        args=args,
        train_dataset=Dataset.from_dict(columns),
        processing_class=tokenizer,
        peft_config=peft,
        callbacks=[keeper(crew, report)],
    )
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    hand_over(trainer, model, network_of, more, tokenizer, crew, folder)


def hand_over(
    trainer: Any,
    base: str,
    cls: Any,
    more: dict[str, Any],
    tokenizer: Any,
    crew: Crew,
    folder: Path,
) -> None:
    """Gather the weights of all workers; worker 0 writes the whole model, adapters merged, and the tokenizer."""
    with tempfile.TemporaryDirectory(prefix="raypipe-") as aside:
        trainer.save_model(aside)  # all workers take part
        if crew.rank:
            return
        adapted = (Path(aside) / "adapter_config.json").is_file()
        if adapted:
            from peft import PeftModel

            merged = PeftModel.from_pretrained(
                load(cls, base, torch.device("cpu"), **more), aside
            ).merge_and_unload()
            merged.save_pretrained(folder)
        else:
            shutil.copytree(
                aside,
                folder,
                dirs_exist_ok=True,
                ignore=shutil.ignore_patterns("*.bin", "checkpoint-*"),
            )
        tokenizer.save_pretrained(folder)

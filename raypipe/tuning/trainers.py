"""TRL's trainers under Ray Train: dialogues and the reward model with DeepSpeed, on GPU or CPU.

LoRA comes from peft. A trainer learns where it runs through the worker of its `TrainingRun`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch

from raypipe.seeding import generator
from raypipe.tuning import sft
from raypipe.tuning.chat import by_length
from raypipe.tuning.dialogue import Labelled
from raypipe.tuning.training_run import Report, TrainingRun, Worker, forgotten_deepspeed

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import (
        PreTrainedTokenizerBase,
        TrainerCallback,
        TrainerControl,
        TrainerState,
        TrainingArguments,
    )

Arguments = TypeVar("Arguments")


class Adapter(NamedTuple):
    """LoRA; with rank 0 all parameters are tuned."""

    rank: int
    alpha: int
    dropout: float


@dataclass(frozen=True)
class _Trainer:
    """A TRL trainer and its model.

    Args:
        cls: the trainer's class.
        args: its arguments.
        model_class: the model's class in transformers.
        source: the LLM to start from.
        peft: see `lora`.
        options: further options of the model.
    """

    cls: Callable[..., Any]
    args: object
    model_class: type
    source: str
    peft: LoraConfig | None
    options: Mapping[str, object] = field(default_factory=dict)


def load(model_class: type, source: str, device: torch.device, **options: object) -> Any:
    """A model of a transformers class, in the precision that its device trains in."""
    cls: Any = model_class
    dtype = "bfloat16" if device.type == "cuda" else "float32"
    return cls.from_pretrained(source, dtype=dtype, **options)


def padded(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """The tokenizer with a padding token: its end token if it has none."""
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def lora(adapter: Adapter, task: str) -> LoraConfig | None:
    """peft's configuration for all linear layers, or None."""
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


def arguments(
    cls: Callable[..., Arguments],
    settings: sft.Settings,
    worker: Worker,
    folder: str,
    **more: object,
) -> Arguments:
    """The arguments of a TRL trainer, with DeepSpeed.

    Args:
        folder: where the trainer writes.
        more: further arguments; they replace those made here.
    """
    cuda = worker.device.type == "cuda"
    values: dict[str, object] = {
        "output_dir": folder,
        "per_device_train_batch_size": max(1, settings.batch_size // worker.world),
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
    values["deepspeed"] = sft.deepspeed_config(settings, worker.world, cuda)
    if not cuda:
        _use_gloo()
        values["accelerator_config"] = {"use_configured_state": True}
    return cls(**{**values, **more})


def _use_gloo() -> None:
    """Let accelerate run DeepSpeed on CPUs; it must know before it has a state."""
    sft.without_shared_memory()
    os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
    from accelerate.state import AcceleratorState, PartialState

    AcceleratorState._reset_state(reset_partial_state=True)  # of an earlier trainer
    PartialState(backend="gloo")


def checkpoint_callback(worker: Worker, report: Report) -> TrainerCallback:
    """A callback that passes due checkpoints to the worker, and the loss to `report`."""
    from transformers import TrainerCallback

    class Callback(TrainerCallback):
        def on_step_end(
            self,
            args: TrainingArguments,
            state: TrainerState,
            control: TrainerControl,
            **unused: object,
        ) -> None:
            control.should_save = worker.due(state.global_step)

        def on_save(
            self,
            args: TrainingArguments,
            state: TrainerState,
            control: TrainerControl,
            **unused: object,
        ) -> None:
            saved = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
            worker.checkpoint(lambda target: shutil.copytree(saved, target, dirs_exist_ok=True))
            shutil.rmtree(saved, ignore_errors=True)

        def on_log(
            self,
            args: TrainingArguments,
            state: TrainerState,
            control: TrainerControl,
            logs: dict[str, float] | None = None,
            **unused: object,
        ) -> None:
            if not logs or "loss" not in logs:
                return
            line: dict[str, float] = {"step": state.global_step, "steps": state.max_steps}
            for name in ("loss", "accuracy"):
                if name in logs:
                    line[name] = float(logs[name])
            report(line)

    return Callback()


class ByLength(torch.utils.data.Sampler[int]):
    """The order of chat.by_length.

    It depends only on seed and epoch, so that a training that continues from a checkpoint sees the
    examples that it had not seen.
    """

    def __init__(self, examples: Sequence[Labelled], settings: sft.Settings) -> None:
        self.lengths = [len(example.ids) for example in examples]
        self.settings, self.epoch = settings, 0

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        rng = generator(self.settings.seed, "order", self.epoch)
        batches = by_length(self.lengths, self.settings.batch_size, rng)
        # the short batch comes last: earlier, it would shift the batches after it
        for rows in sorted(batches, key=len, reverse=True):
            yield from rows.tolist()

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before each epoch."""
        self.epoch = epoch


def dialogues(
    model: str,
    examples: Sequence[Labelled],
    settings: sft.Settings,
    adapter: Adapter,
    run: TrainingRun,
) -> None:
    """Tune a causal LLM on labelled tokens with TRL's SFTTrainer; worker 0 writes the tuned LLM."""
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig, SFTTrainer

    class Trainer(SFTTrainer):
        def _get_train_sampler(self, train_dataset: object = None) -> ByLength:
            return ByLength(examples, settings)

    columns = {
        "input_ids": [example.ids for example in examples],
        "labels": [example.labels for example in examples],
    }
    with tempfile.TemporaryDirectory(prefix="raypipe-") as scratch:
        # loss_type: TRL's default assumes ZeRO-3 sharding whenever DeepSpeed is configured
        args = arguments(SFTConfig, settings, run.worker, scratch, max_length=None, loss_type="nll")
        peft = lora(adapter, "CAUSAL_LM")
        _train(_Trainer(Trainer, args, AutoModelForCausalLM, model, peft), columns, run)


def rewards(
    model: str,
    chosen: Sequence[list[int]],
    rejected: Sequence[list[int]],
    settings: sft.Settings,
    adapter: Adapter,
    run: TrainingRun,
) -> None:
    """Train a reward model with TRL's RewardTrainer (RecLM R19).

    The loss of a pair is -log sigmoid(r(chosen) - r(rejected)).
    """
    from transformers import AutoModelForSequenceClassification
    from trl import RewardConfig, RewardTrainer

    columns = {"chosen_ids": list(chosen), "rejected_ids": list(rejected)}
    with tempfile.TemporaryDirectory(prefix="raypipe-") as scratch:
        args = arguments(RewardConfig, settings, run.worker, scratch, max_length=None)
        peft, network = lora(adapter, "SEQ_CLS"), AutoModelForSequenceClassification
        setup = _Trainer(RewardTrainer, args, network, model, peft, {"num_labels": 1})
        _train(setup, columns, run)


@forgotten_deepspeed()
def _train(setup: _Trainer, columns: dict[str, Any], run: TrainingRun) -> None:
    """Train on columns of token ids, from the last checkpoint, and write the result."""
    from datasets import Dataset
    from transformers import AutoTokenizer

    tokenizer = padded(AutoTokenizer.from_pretrained(setup.source))
    options = dict(setup.options)
    if options:
        options["pad_token_id"] = tokenizer.pad_token_id
    trainer = setup.cls(
        model=load(setup.model_class, setup.source, run.worker.device, **options),
        args=setup.args,
        train_dataset=Dataset.from_dict(columns),
        processing_class=tokenizer,
        peft_config=setup.peft,
        callbacks=[checkpoint_callback(run.worker, run.report)],
    )
    trainer.train(resume_from_checkpoint=str(run.resume) if run.resume else None)
    with tempfile.TemporaryDirectory(prefix="raypipe-") as gathered:
        trainer.save_model(gathered)  # all workers take part
        if run.worker.rank == 0:
            _write_whole(Path(gathered), setup, options, run.folder)
            tokenizer.save_pretrained(run.folder)


def _write_whole(gathered: Path, setup: _Trainer, options: dict[str, object], folder: Path) -> None:
    """Write the gathered model to a folder, with adapters merged into the weights."""
    if (gathered / "adapter_config.json").is_file():
        from peft import PeftModel

        base = load(setup.model_class, setup.source, torch.device("cpu"), **options)
        merged: Any = PeftModel.from_pretrained(base, str(gathered))
        merged.merge_and_unload().save_pretrained(folder)
        return
    ignore = shutil.ignore_patterns("*.bin", "checkpoint-*")
    shutil.copytree(gathered, folder, dirs_exist_ok=True, ignore=ignore)

"""One round of reinforcement learning with TRL: PPO and GRPO (RecLM R21)."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from raypipe.errors import ConfigError
from raypipe.tuning import sft
from raypipe.tuning.reward_model import RewardModel
from raypipe.tuning.trainers import Adapter, arguments, load, lora
from raypipe.tuning.training_run import Worker

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Arguments = TypeVar("Arguments")


class Policy(NamedTuple):
    """The settings of reinforcement learning.

    Args:
        method: ppo or grpo.
        group: answers per prompt that GRPO compares.
        length: the most tokens of an answer.
        stop: the text that ends an answer; one token of the LLM.
    """

    method: str
    rounds: int
    batch_size: int
    learning_rate: float
    beta: float
    temperature: float
    group: int
    length: int
    stop: str
    zero_stage: int
    seed: int


@dataclass(frozen=True)
class Round:
    """What a round needs.

    Args:
        number: from 0.
        tuned: the reference of the KL divergence.
        reward: the reward model.
        start: the policy to start from.
        value: the value model to start from (PPO).
        folder: worker 0 writes policy/ there, and value/ with PPO.
    """

    number: int
    tuned: str
    reward: str
    start: str
    value: str
    prompts: Sequence[str]
    tokenizer: PreTrainedTokenizerBase
    settings: Policy
    adapter: Adapter
    worker: Worker
    folder: Path


def train_ppo(work: Round) -> list[dict[str, float]]:
    """A round of PPO; returns a line per logged step: score, kl, entropy."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    settings, tokenizer, worker = work.settings, work.tokenizer, work.worker
    ids = []
    for prompt in work.prompts:
        prompt_ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        ids.append([tokenizer.bos_token_id, *prompt_ids])
    data = Dataset.from_dict({"input_ids": ids})
    score = {"num_labels": 1, "pad_token_id": tokenizer.pad_token_id}
    model = load(AutoModelForCausalLM, work.start, worker.device)
    end_tokens = _end_tokens(model)
    with tempfile.TemporaryDirectory(prefix="raypipe-") as scratch:
        args = _arguments(
            PPOConfig,
            work,
            scratch,
            total_episodes=len(work.prompts),
            response_length=settings.length,
            stop_token="eos",
            missing_eos_penalty=1.0,
            kl_coef=settings.beta,
            world_size=worker.world,
            num_sample_generations=0,
            local_rollout_forward_batch_size=max(1, settings.batch_size // worker.world),
        )
        classifier = AutoModelForSequenceClassification
        trainer = PPOTrainer(
            args=args,
            processing_class=stopping(tokenizer, settings.stop),
            model=model,
            ref_model=load(AutoModelForCausalLM, work.tuned, worker.device),
            reward_model=load(classifier, work.reward, worker.device, **score),
            value_model=load(classifier, work.value, worker.device, **score),
            train_dataset=data,
            eval_dataset=data,
            peft_config=lora(work.adapter, "CAUSAL_LM"),
        )
        trainer.train()
        trained = trainer.accelerator.unwrap_model(trainer.model)
        if worker.rank == 0:
            _save(trained.policy, work.folder / "policy", tokenizer, end_tokens)
            _save(trained.value_model, work.folder / "value", tokenizer)
        lines = []
        for log in trainer.state.log_history:
            if "objective/kl" in log:
                lines.append(
                    {
                        "score": float(log["objective/scores"]),
                        "kl": float(log["objective/kl"]),
                        "entropy": float(log["objective/entropy"]),
                    }
                )
        return lines


def train_grpo(work: Round) -> list[dict[str, float]]:
    """A round of GRPO; returns a line per logged step: score, kl, entropy."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from trl import GRPOConfig, GRPOTrainer
    from trl.models import prepare_deepspeed

    settings, tokenizer, worker = work.settings, work.tokenizer, work.worker
    reward_model = RewardModel(work.reward, worker.device)

    def reward(
        prompts: list[str], completion_ids: list[list[int]], **unused: object
    ) -> list[float | None]:
        answers = tokenizer.batch_decode(completion_ids)
        queries = [prompt.removeprefix(tokenizer.bos_token) for prompt in prompts]
        return [*reward_model.score(queries, answers)]

    model = load(AutoModelForCausalLM, work.start, worker.device)
    end_tokens = _end_tokens(model)
    data = Dataset.from_dict({"prompt": with_start_token(tokenizer, work.prompts)})
    with tempfile.TemporaryDirectory(prefix="raypipe-") as scratch:
        args = _arguments(
            GRPOConfig,
            work,
            scratch,
            num_generations=settings.group,
            max_completion_length=settings.length,
            beta=settings.beta,
        )
        trainer = GRPOTrainer(
            model=model,
            reward_funcs=reward,
            args=args,
            train_dataset=data,
            processing_class=stopping(tokenizer, settings.stop),
            peft_config=lora(work.adapter, "CAUSAL_LM"),
        )
        if work.start != work.tuned and settings.beta:
            # TRL would take the divergence from the weights that the round starts with
            reference = load(AutoModelForCausalLM, work.tuned, worker.device)
            trainer.ref_model = prepare_deepspeed(reference, trainer.accelerator)
        trainer.train()
        if worker.rank == 0:
            trained = trainer.accelerator.unwrap_model(trainer.model)
            _save(trained, work.folder / "policy", tokenizer, end_tokens)
        lines = []
        for log in trainer.state.log_history:
            if "reward" in log:
                kl, entropy = float(log.get("kl", 0.0)), float(log.get("entropy", 0.0))
                lines.append({"score": float(log["reward"]), "kl": kl, "entropy": entropy})
        return lines


def with_start_token(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> list[str]:
    """The prompts as texts that the tokenizer, as TRL calls it, gives exactly one start token."""
    if tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]:
        return list(prompts)
    return [tokenizer.bos_token + prompt for prompt in prompts]


def stopping(tokenizer: PreTrainedTokenizerBase, stop: str) -> PreTrainedTokenizerBase:
    """A copy of the tokenizer with `stop` as its end token.

    TRL cuts answers off at the end token, and treats an answer without it as incomplete.

    Raises:
        ConfigError: `stop` is not a single token.
    """
    ids = tokenizer(stop, add_special_tokens=False)["input_ids"]
    if len(ids) != 1:
        raise ConfigError(
            f"{stop!r}, which ends an answer, is {len(ids)} tokens of this LLM",
            "llm.policy.method",
            "set it to none, or take another LLM",
        )
    copied = copy.deepcopy(tokenizer)
    copied.eos_token = tokenizer.convert_ids_to_tokens(ids)[0]
    return copied


def _arguments(
    cls: Callable[..., Arguments], work: Round, folder: str, **more: object
) -> Arguments:
    """The arguments of a TRL trainer for a round: one epoch at a constant learning rate."""
    settings = work.settings
    training = sft.Settings(
        epochs=1,
        learning_rate=settings.learning_rate,
        batch_size=settings.batch_size,
        warmup_steps=0,
        zero_stage=settings.zero_stage,
        seed=settings.seed + work.number,
    )
    more |= {"lr_scheduler_type": "constant", "temperature": settings.temperature}
    return arguments(cls, training, work.worker, folder, **more)


def _end_tokens(model: PreTrainedModel) -> tuple[Any, Any]:
    """The end tokens of an LLM; TRL's trainers replace them by that of their tokenizer."""
    return model.config.eos_token_id, model.generation_config.eos_token_id


def _save(
    model: PreTrainedModel,
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    end_tokens: tuple[Any, Any] | None = None,
) -> None:
    """Write a model, with adapters merged and its own end tokens restored, and the tokenizer."""
    whole: Any = model
    if hasattr(model, "merge_and_unload"):
        whole = whole.merge_and_unload()
    if end_tokens is not None:
        whole.config.eos_token_id, whole.generation_config.eos_token_id = end_tokens
    whole.save_pretrained(folder)
    tokenizer.save_pretrained(folder)

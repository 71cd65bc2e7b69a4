"""Reinforcement learning against a reward model (RecLM R21), by TRL's PPOTrainer or GRPOTrainer.

The reward of an answer is r(query, answer) - beta KL(policy | tuned LLM). An answer ends where its text does, at a token that is
named: an LLM that was tuned on several profiles an answer would write one after the other, and end none. Episodes are cut into
rounds: each begins with the weights that the last one left and new moments of the optimizer, so that work that is cut off goes on
with the next round.
"""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from raypipe.errors import ConfigError
from raypipe.tuning import sft
from raypipe.tuning.trainers import Adapter, Crew, arguments, load, lora, padded

ROUNDS = "rounds.json"


class Policy(NamedTuple):
    """What the loop needs to know.

    Args:
        method: ppo or grpo.
        length: tokens of an answer at most.
        group: answers a prompt that GRPO compares.
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


def reinforce(
    tuned: str,
    judge: str,
    prompts: Sequence[str],
    settings: Policy,
    adapter: Adapter,
    crew: Crew,
    report: Callable[[dict[str, float]], None],
    resume: Path | None,
    folder: Path,
) -> list[dict[str, float]]:
    """Improve the tuned LLM by the judge's rewards; worker 0 writes the policy to `folder`; returns one line a logged step.

    Args:
        tuned: the LLM that learning starts from, and that the KL divergence is taken from (M_0).
        prompts: queries, each with what all answers begin with.
        judge: a reward model that `trainers.rewards` wrote.
        resume: a folder with the round reached and its weights.
    """
    from transformers import AutoTokenizer

    tokenizer = padded(AutoTokenizer.from_pretrained(tuned, padding_side="left"))
    start, value, done, curve = tuned, judge, 0, []
    if resume is not None:
        state = json.loads((resume / ROUNDS).read_text())
        done, curve = state["done"], state["curve"]
        start, value = _reached(resume, judge)
    parts = np.array_split(np.arange(len(prompts)), settings.rounds)
    run = _ppo if settings.method == "ppo" else _grpo
    with tempfile.TemporaryDirectory(prefix="raypipe-") as scratch:
        for number in range(done, settings.rounds):
            asked = [prompts[i] for i in parts[number]]
            place = Path(scratch) / f"round{number}"
            lines = run(
                tuned, start, value, judge, asked, tokenizer, settings, adapter, crew, number, place
            )
            curve += [{**line, "round": number + 1} for line in lines]
            if lines:
                report({"round": number + 1, "rounds": settings.rounds, **lines[-1]})
            if number + 1 < settings.rounds:  # nobody begins with what the last one leaves
                crew.broadcast_folder(place)
            start, value = _reached(place, judge)
            state = json.dumps({"done": number + 1, "curve": curve})

            def write(to: Path, place: Path = place, state: str = state) -> None:
                if crew.rank == 0:
                    shutil.copytree(place, to, dirs_exist_ok=True)
                    (to / ROUNDS).write_text(state)

            if crew.due(0):
                crew.checkpoint(write)
        if crew.rank == 0:
            shutil.copytree(start, folder, dirs_exist_ok=True)
    return curve


def _reached(folder: Path, judge: str) -> tuple[str, str]:
    """The policy that a round left, and its value model: the judge where the method has none."""
    value = folder / "value"
    return str(folder / "policy"), str(value) if value.is_dir() else judge


def _arguments(
    cls: Any, settings: Policy, crew: Crew, folder: str, number: int, **more: Any
) -> Any:
    """Arguments of one of TRL's trainers in a round: one epoch at a constant rate."""
    own = sft.Settings(
        1,
        settings.learning_rate,
        settings.batch_size,
        0,
        settings.zero_stage,
        settings.seed + number,
    )
    return arguments(
        cls,
        own,
        crew,
        folder,
        lr_scheduler_type="constant",
        temperature=settings.temperature,
        **more,
    )


def stopping(tokenizer: Any, stop: str) -> Any:
    """A tokenizer with `stop` as its end token: there TRL cuts answers off, and an answer without it counts as cut short.

    Raises:
        ConfigError: `stop` is no token of its own.
    """
    ids = tokenizer(stop, add_special_tokens=False)["input_ids"]
    if len(ids) != 1:
        raise ConfigError(
            f"{stop!r}, which ends an answer, is {len(ids)} tokens of this LLM",
            "llm.policy.method",
            "set it to none, or take another LLM",
        )
    made = copy.deepcopy(tokenizer)
    made.eos_token = tokenizer.convert_ids_to_tokens(ids)[0]
    return made


def _ends(model: Any) -> tuple[Any, Any]:
    """The end tokens of an LLM, which TRL's trainers put those of their tokenizer in the place of."""
    return model.config.eos_token_id, model.generation_config.eos_token_id


def _save(model: Any, to: Path, tokenizer: Any, ends: tuple[Any, Any] | None = None) -> None:
    whole = model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
    if ends is not None:
        whole.config.eos_token_id, whole.generation_config.eos_token_id = ends
    whole.save_pretrained(to)
    tokenizer.save_pretrained(to)


def _ppo(
    tuned: str,
    start: str,
    value: str,
    judge: str,
    prompts: Sequence[str],
    tokenizer: Any,
    settings: Policy,
    adapter: Adapter,
    crew: Crew,
    number: int,
    place: Path,
) -> list[dict[str, float]]:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    ids = [
        [tokenizer.bos_token_id, *tokenizer(p, add_special_tokens=False)["input_ids"]]
        for p in prompts
    ]
    data = Dataset.from_dict({"input_ids": ids})
    score = {"num_labels": 1, "pad_token_id": tokenizer.pad_token_id}
    model = load(AutoModelForCausalLM, start, crew.device)
    ends = _ends(model)
    with tempfile.TemporaryDirectory(prefix="raypipe-") as scratch:
        args = _arguments(
            PPOConfig,
            settings,
            crew,
            scratch,
            number,
            total_episodes=len(prompts),
            response_length=settings.length,
            stop_token="eos",
            missing_eos_penalty=1.0,
            kl_coef=settings.beta,
            world_size=crew.world,
            num_sample_generations=0,
            local_rollout_forward_batch_size=max(1, settings.batch_size // crew.world),
        )
        trainer = PPOTrainer(
            args=args,
            processing_class=stopping(tokenizer, settings.stop),
            model=model,
            ref_model=load(AutoModelForCausalLM, tuned, crew.device),
            reward_model=load(AutoModelForSequenceClassification, judge, crew.device, **score),
            value_model=load(AutoModelForSequenceClassification, value, crew.device, **score),
            train_dataset=data,
            eval_dataset=data,
            peft_config=lora(adapter, "CAUSAL_LM"),
        )
        trainer.train()
        made = trainer.accelerator.unwrap_model(trainer.model)
        if crew.rank == 0:
            _save(made.policy, place / "policy", tokenizer, ends)
            _save(made.value_model, place / "value", tokenizer)
        names = {"objective/scores": "score", "objective/kl": "kl", "objective/entropy": "entropy"}
        return [
            {to: float(line[of]) for of, to in names.items()}
            for line in trainer.state.log_history
            if "objective/kl" in line
        ]


def _grpo(
    tuned: str,
    start: str,
    value: str,
    judge: str,
    prompts: Sequence[str],
    tokenizer: Any,
    settings: Policy,
    adapter: Adapter,
    crew: Crew,
    number: int,
    place: Path,
) -> list[dict[str, float]]:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from trl import GRPOConfig, GRPOTrainer
    from trl.models import prepare_deepspeed

    scorer = Judge(judge, crew.device)

    def reward(prompts: list[str], completion_ids: list[list[int]], **more: Any) -> Any:
        answers = tokenizer.batch_decode(completion_ids)
        return scorer.score([p.removeprefix(tokenizer.bos_token) for p in prompts], answers)

    model = load(AutoModelForCausalLM, start, crew.device)
    ends = _ends(model)
    data = Dataset.from_dict({"prompt": begun(tokenizer, prompts)})
    with tempfile.TemporaryDirectory(prefix="raypipe-") as scratch:
        args = _arguments(
            GRPOConfig,
            settings,
            crew,
            scratch,
            number,
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
            peft_config=lora(adapter, "CAUSAL_LM"),
        )
        if (
            start != tuned and settings.beta
        ):  # TRL takes the divergence from the weights that it starts with
            reference = load(AutoModelForCausalLM, tuned, crew.device)
            trainer.ref_model = prepare_deepspeed(reference, trainer.accelerator)
        trainer.train()
        if crew.rank == 0:
            _save(
                trainer.accelerator.unwrap_model(trainer.model), place / "policy", tokenizer, ends
            )
        history = trainer.state.log_history
        return [
            {
                "score": float(h["reward"]),
                "kl": float(h.get("kl", 0.0)),
                "entropy": float(h.get("entropy", 0.0)),
            }
            for h in history
            if "reward" in h
        ]


def begun(tokenizer: Any, prompts: Sequence[str]) -> list[str]:
    """The prompts as texts of which the tokenizer, called as TRL calls it, makes one start token and what follows."""
    by_itself = tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
    return [p if by_itself else tokenizer.bos_token + p for p in prompts]


class Judge:
    """A reward model in this process, on the device that is named."""

    def __init__(self, folder: str, device: torch.device) -> None:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        self.tokenizer = padded(AutoTokenizer.from_pretrained(folder, padding_side="right"))
        more = {"num_labels": 1, "pad_token_id": self.tokenizer.pad_token_id}
        self.device = device
        self.model = (
            AutoModelForSequenceClassification.from_pretrained(folder, dtype="float32", **more)
            .to(device)
            .eval()
        )

    @torch.inference_mode()
    def score(
        self, prompts: Sequence[str], answers: Sequence[str], at_once: int = 64
    ) -> list[float]:
        """r(query, answer) of each pair."""
        made: list[float] = []
        for begin in range(0, len(prompts), at_once):
            ids = [
                tokens(self.tokenizer, p, a)
                for p, a in zip(prompts[begin : begin + at_once], answers[begin : begin + at_once])
            ]
            width = max(map(len, ids))
            table = torch.full((len(ids), width), self.tokenizer.pad_token_id)
            mask = torch.zeros(len(ids), width, dtype=torch.long)
            for row, own in enumerate(ids):
                table[row, : len(own)], mask[row, : len(own)] = torch.tensor(own), 1
            asked = {"input_ids": table.to(self.device), "attention_mask": mask.to(self.device)}
            made += self.model(**asked).logits[:, 0].tolist()
        return made


def tokens(tokenizer: Any, prompt: str, answer: str) -> list[int]:
    """A query and its answer as the reward model reads them: to where the answer ends."""
    said = (
        tokenizer(prompt, add_special_tokens=False)["input_ids"]
        + tokenizer(answer, add_special_tokens=False)["input_ids"]
    )
    return [tokenizer.bos_token_id, *said]

"""Reinforcement learning against a reward model (RecLM R21), by TRL's PPOTrainer or GRPOTrainer.

The reward of an answer is r(query, answer) - beta KL(policy | tuned LLM). An answer ends at the
token `stop`: an LLM that was tuned on several profiles per answer would otherwise write one after
the other, without an end.

The prompts are split into rounds. Each round starts from the weights of the one before, with new
moments of the optimizer, so that interrupted work continues with the next round.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from raypipe.tuning.policy_trainers import Policy, Round, train_grpo, train_ppo
from raypipe.tuning.trainers import Adapter, padded
from raypipe.tuning.training_run import TrainingRun, forgotten_deepspeed

#: file of a checkpoint: how many rounds are done, and the curve so far
ROUNDS = "rounds.json"


class Models(NamedTuple):
    """The LLMs of reinforcement learning, as folders or hub ids.

    Args:
        tuned: the LLM to start from, and the reference of the KL divergence (M_0).
        reward: a reward model that `trainers.rewards` wrote.
    """

    tuned: str
    reward: str


@forgotten_deepspeed()
def reinforce(
    models: Models,
    prompts: Sequence[str],
    settings: Policy,
    adapter: Adapter,
    run: TrainingRun,
) -> list[dict[str, float]]:
    """Improve the tuned LLM by the rewards of its answers; worker 0 writes the policy.

    Args:
        prompts: queries, each with the words that every answer begins with.

    Returns:
        One line per logged step: score, kl, entropy, round.
    """
    from transformers import AutoTokenizer

    tokenizer = padded(AutoTokenizer.from_pretrained(models.tuned, padding_side="left"))
    start, value, finished, curve = models.tuned, models.reward, 0, []
    if run.resume is not None:
        state = json.loads((run.resume / ROUNDS).read_text())
        finished, curve = state["done"], state["curve"]
        start, value = _written_models(run.resume, models)
    parts = np.array_split(np.arange(len(prompts)), settings.rounds)
    train = train_ppo if settings.method == "ppo" else train_grpo
    with tempfile.TemporaryDirectory(prefix="raypipe-") as scratch:
        for number in range(finished, settings.rounds):
            folder = Path(scratch) / f"round{number}"
            lines = train(
                Round(
                    number=number,
                    tuned=models.tuned,
                    reward=models.reward,
                    start=start,
                    value=value,
                    prompts=[prompts[i] for i in parts[number]],
                    tokenizer=tokenizer,
                    settings=settings,
                    adapter=adapter,
                    worker=run.worker,
                    folder=folder,
                )
            )
            curve += [{**line, "round": number + 1} for line in lines]
            if lines:
                run.report({"round": number + 1, "rounds": settings.rounds, **lines[-1]})
            if number + 1 < settings.rounds:  # only the next round reads it on other workers
                run.worker.broadcast_folder(folder)
            start, value = _written_models(folder, models)
            _checkpoint(run, folder, {"done": number + 1, "curve": curve})
        if run.worker.rank == 0:
            shutil.copytree(start, run.folder, dirs_exist_ok=True)
    return curve


def _written_models(folder: Path, models: Models) -> tuple[str, str]:
    """The policy of a round, and its value model: the reward model if the method trains none."""
    value = folder / "value"
    return str(folder / "policy"), str(value) if value.is_dir() else models.reward


def _checkpoint(run: TrainingRun, folder: Path, state: dict[str, object]) -> None:
    """Save the models and the state after a round, if a checkpoint is due."""

    def write(target: Path) -> None:
        if run.worker.rank == 0:
            shutil.copytree(folder, target, dirs_exist_ok=True)
            (target / ROUNDS).write_text(json.dumps(state))

    if run.worker.due(0):
        run.worker.checkpoint(write)

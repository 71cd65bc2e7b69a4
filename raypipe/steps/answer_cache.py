"""Which prompts need a request to the LLM: prompt hashes, shared questions and cached answers.

A *question* is what the engine receives. Prompts that score options after the same text share one
question, which carries the options of all of them. Every other prompt is a question of its own.

The cache is a folder of COMPLETIONS files per LLM. Its ids are prompt hashes, so that any run of
the store can reuse an answer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from raypipe.cluster import ray_data
from raypipe.pipeline.stage import Context
from raypipe.schema import COMPLETIONS, MOST_OPTIONS, PROMPTS

#: `finished_at` of a prompt that needed no request of its own
REUSED = 0.0


class Folders(NamedTuple):
    """Where a stage that answers prompts reads and writes.

    Args:
        prompts: the PROMPTS files of the input.
        cache: answers of the same LLM from any run.
        partial: COMPLETIONS written so far; they survive an interruption.
        questions: the questions that still need a request.
    """

    prompts: str
    cache: str
    partial: str
    questions: str


class Pending(NamedTuple):
    """How many prompts there are, and how many of them already have an answer.

    Args:
        prompts: all prompts.
        cached: prompts with an answer in the cache.
        answered: prompts that an interrupted run answered.
        questions: questions that still need a request.
    """

    prompts: int
    cached: int
    answered: int
    questions: int


def cache_folder(ctx: Context, llm: list[Any]) -> str:
    """The cache of one LLM, shared by all runs of the store.

    Args:
        llm: what identifies the LLM and its answers, e.g. hashes of its weights and the engine.
    """
    return f"{ctx.store.uri}/answers/{hashlib.sha256(json.dumps(llm).encode()).hexdigest()[:12]}"


def prompt_hashes(prompts: pd.DataFrame) -> list[str]:
    """A hash of each prompt, mode, pattern and options: everything that an answer depends on."""
    columns = [prompts[name] for name in ("mode", "prompt", "pattern", "options")]
    return [_digest([*row[:-1], list(row[-1])]) for row in zip(*columns, strict=True)]


def question_ids(prompts: pd.DataFrame) -> list[str]:
    """The id of the question that each prompt belongs to.

    Prompts in mode "score" with the same text share a question while their options together are at
    most MOST_OPTIONS; the next prompt opens another. Sharing is exact: the log-probability of an
    option does not depend on the other options (llm/tokens.py). In the other modes it does.
    """
    ids: list[str] = []
    # text -> number of its newest question, and the options of that question
    newest: dict[str, tuple[int, set[str]]] = {}
    for mode, text, prompt_hash, options in zip(
        prompts["mode"], prompts["prompt"], prompts["prompt_hash"], prompts["options"], strict=True
    ):
        if mode != "score":
            ids.append(prompt_hash)
            continue
        number, known_options = newest.get(text, (0, set()))
        if len(known_options.union(options)) > MOST_OPTIONS:
            number, known_options = number + 1, set()
        newest[text] = number, known_options.union(options)
        ids.append(_digest([mode, text, number]))
    return ids


def read_prompts(folder: str, columns: Sequence[str]) -> pd.DataFrame:
    """Some columns of all prompts, with `prompt_hash` and `question`.

    Rows keep the order of the files, where prompts that begin alike are close to each other: the
    engine's prefix cache profits.
    """
    needed = [*dict.fromkeys([*columns, "prompt_id", "mode", "prompt", "pattern", "options"])]
    prompts = ray_data.read_finished(folder, needed)
    prompts = prompts.assign(prompt_hash=prompt_hashes(prompts))
    prompts["question"] = pd.Series(question_ids(prompts), prompts.index, object)
    return prompts[[*columns, "prompt_hash", "question"]]


def option_positions(prompts: pd.DataFrame) -> dict[str, dict[str, int]]:
    """question -> position of each option, in order of appearance: equal in all runs of a stage."""
    positions: dict[str, dict[str, int]] = {}
    for question, options in zip(prompts["question"], prompts["options"], strict=True):
        of_question = positions.setdefault(question, {})
        for option in options:
            of_question.setdefault(option, len(of_question))
    return positions


def count_uncached(folder: str, cache: str) -> tuple[int, int]:
    """The number of distinct prompts without a cached answer, and their characters together."""
    prompts = read_prompts(folder, ["prompt"]).drop_duplicates("prompt_hash")
    cached = ray_data.read_finished(cache, ["prompt_id"])["prompt_id"]
    uncached = prompts[~prompts["prompt_hash"].isin(cached)]
    return len(uncached), int(uncached["prompt"].str.len().sum())


def write_pending(folders: Folders, stage: str) -> Pending:
    """Write the questions that need a request to `folders.questions`.

    Cached answers are copied to `folders.partial`, beside those of an interrupted run.
    """
    prompts = read_prompts(folders.prompts, list(PROMPTS.columns))
    answered_ids = ray_data.read_finished(folders.partial, ["prompt_id"])["prompt_id"]
    cache = ray_data.read_finished(folders.cache)
    cache = cache.rename(columns={"prompt_id": "prompt_hash"}).drop_duplicates("prompt_hash")
    is_cached = prompts["prompt_hash"].isin(cache["prompt_hash"] if len(cache) else [])
    if is_cached.any():
        reused = prompts[["prompt_id", "prompt_hash"]].merge(cache, on="prompt_hash")
        reused = reused.drop(columns="prompt_hash").assign(finished_at=REUSED)
        ray_data.write(COMPLETIONS.from_frame(reused, folders.partial), folders.partial, "reused")
    is_answered = prompts["question"].isin(answered_ids) & ~is_cached
    questions = prompts[~is_cached & ~is_answered].drop_duplicates("question")
    positions = option_positions(prompts)
    questions = questions.assign(
        prompt_id=questions["question"],
        options=[list(positions[question]) for question in questions["question"]],
        payload=[[]] * len(questions),
    )
    ray_data.write_blocks(
        questions[list(PROMPTS.columns)],
        lambda rows: PROMPTS.from_frame(rows, stage),
        folders.questions,
    )
    return Pending(len(prompts), int(is_cached.sum()), int(is_answered.sum()), len(questions))


def answers_of_prompts(
    prompts: pd.DataFrame, positions: dict[str, dict[str, int]], answers: pd.DataFrame
) -> pd.DataFrame:
    """COMPLETIONS rows of the prompts whose questions were answered.

    The first prompt of each question keeps the time of the answer; the others are marked REUSED,
    so that a request is counted once.

    Args:
        positions: see `option_positions`.
        answers: COMPLETIONS whose ids are questions.
    """
    rows = prompts[["prompt_id", "question", "options"]].merge(
        answers.rename(columns={"prompt_id": "question"}), on="question"
    )
    logprobs = []
    for question, options, values in zip(
        rows["question"], rows["options"], rows["logprobs"], strict=True
    ):
        position = positions[question]
        logprobs.append([values[position[option]] for option in options] if len(values) else [])
    is_first = ~rows["question"].duplicated()
    rows["logprobs"] = pd.Series(logprobs, rows.index, object)
    rows["finished_at"] = rows["finished_at"].where(is_first, REUSED)
    return rows[list(COMPLETIONS.columns)]


def add_to_cache(prompts: pd.DataFrame, answers: pd.DataFrame, cache: str, name: str) -> None:
    """Write answers to the cache, as the file `name`, by the hashes of their prompts.

    Failed requests are left out; the next run sends them again.
    """
    has_answer = (answers["answer"] != "") | (answers["logprobs"].map(len) > 0)
    rows = prompts[["prompt_id", "prompt_hash"]].merge(answers[has_answer], on="prompt_id")
    rows = rows.drop(columns="prompt_id").rename(columns={"prompt_hash": "prompt_id"})
    rows = rows.drop_duplicates("prompt_id")
    if len(rows):
        ray_data.write(COMPLETIONS.from_frame(rows, cache), cache, name)


def _digest(content: list[Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()

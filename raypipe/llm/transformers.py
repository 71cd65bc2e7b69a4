"""Generation with transformers alone: for machines without vLLM, and to serve single prompts.

Options are scored as in vllm.py. In mode "choose" the option with the highest score is the answer,
which picks among the same answers without a grammar. In mode "form" xgrammar allows what the
regular expression matches, as in vLLM.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from raypipe import extras
from raypipe.llm.config import EngineConfig
from raypipe.llm.engine import FORM_TOKENS, PromptRow, completion, is_small
from raypipe.llm.option_tree import OptionTree
from raypipe.llm.tokens import load_tokenizer, tokenize_prompt

if TYPE_CHECKING:
    from ray.data import Dataset


class Question(NamedTuple):
    """A prompt with the options to score or to choose from."""

    prompt: str
    options: Sequence[str]
    mode: str = "score"


class Scorer:
    """A causal LM in this process.

    Args:
        model: folder or hub id.
    """

    def __init__(self, model: str) -> None:
        self.source = model
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        transformers_logging.disable_progress_bar()  # a small LLM loads at once
        loaded: Any = AutoModelForCausalLM.from_pretrained(model, dtype="auto")
        self.model = loaded.to(self.device).eval()
        self.context = int(self.model.config.max_position_embeddings)
        self._grammars: Any = None

    @torch.inference_mode()
    def score(self, questions: Sequence[Question]) -> list[list[float]]:
        """Log-probabilities of each question's options; empty if the prompt exceeds the context."""
        scores: list[list[float]] = [[] for _ in questions]
        at_once: dict[int, tuple[list[int], OptionTree]] = {}
        for number, question in enumerate(questions):
            prompt, tree = tokenize_prompt(self.source, question.prompt, question.options, "score")
            if tree is None or len(prompt) + max(map(len, tree.prefixes)) >= self.context:
                continue
            if len(tree.prefixes) == 1:
                at_once[number] = prompt, tree
            else:
                scores[number] = self._score_places(prompt, tree)
        if at_once:
            prompts = []
            for prompt, tree in at_once.values():
                prompts.append([*prompt, *tree.prefixes[0]])
            logprobs_BV = self._next_token_logprobs(prompts)
            for (number, (_, tree)), logprobs_V in zip(at_once.items(), logprobs_BV, strict=True):
                scores[number] = tree.scores([logprobs_V[tree.choices[0]].tolist()])
        return scores

    def _score_places(self, prompt: list[int], tree: OptionTree) -> list[float]:
        """The scores of options that part at several places; the prompt is read once."""
        # the last token of the prompt is read again before each prefix, so that none is empty
        read, last = prompt[:-1], prompt[-1]
        suffixes = [[last, *prefix] for prefix in tree.prefixes]
        ids_PT, mask_PT = _padded(suffixes)
        cache, mask = None, mask_PT
        if read:
            past = self.model.model(torch.tensor([read], device=self.device), use_cache=True)
            cache = past.past_key_values
            cache.batch_repeat_interleave(len(suffixes))
            mask = torch.cat([torch.ones(len(suffixes), len(read), dtype=torch.long), mask_PT], 1)
        hidden_PTD = self.model.model(
            ids_PT.to(self.device), attention_mask=mask.to(self.device), past_key_values=cache
        ).last_hidden_state
        last_PD = hidden_PTD[torch.arange(len(suffixes)), mask_PT.sum(1) - 1]
        logprobs_PV = torch.log_softmax(self.model.lm_head(last_PD).float(), -1)
        values = []
        for logprobs_V, choices in zip(logprobs_PV, tree.choices, strict=True):
            values.append(logprobs_V[choices].tolist())
        return tree.scores(values)

    def choose(self, question: Question) -> str:
        """The option with the highest score; "" if the prompt does not fit."""
        scores = self.score([question])[0]
        return question.options[int(np.argmax(scores))] if scores else ""

    @torch.inference_mode()
    def generate(self, prompt: str, pattern: str) -> str:
        """The greedy answer among those that match a pattern; "" if the prompt does not fit."""
        extras.need("rl", "llm.engine.name=transformers")
        from xgrammar.contrib.hf import LogitsProcessor

        tokenizer = load_tokenizer(self.source)
        prompt_ids = tokenize_prompt(self.source, prompt, [], "form").prompt
        max_tokens = min(FORM_TOKENS, self.context - len(prompt_ids))
        if max_tokens < 1:
            return ""
        grammar = self._grammar_compiler().compile_regex(pattern)
        ids = torch.tensor([prompt_ids], device=self.device)
        padding = tokenizer.pad_token_id
        output = self.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=max_tokens,
            do_sample=False,
            logits_processor=[LogitsProcessor(grammar)],
            pad_token_id=padding if padding is not None else tokenizer.eos_token_id,
        )
        return str(tokenizer.decode(output[0, len(prompt_ids) :], skip_special_tokens=True))

    def _grammar_compiler(self) -> Any:
        if self._grammars is None:
            import xgrammar

            vocabulary = xgrammar.TokenizerInfo.from_huggingface(
                load_tokenizer(self.source), vocab_size=self.model.config.vocab_size
            )
            self._grammars = xgrammar.GrammarCompiler(vocabulary)
        return self._grammars

    def _next_token_logprobs(self, prompts: list[list[int]]) -> torch.Tensor:
        """[B, V] log-probabilities of the token after each prompt.

        Prompts are padded on the right, where causal attention ignores the padding.
        """
        ids_BT, mask_BT = _padded(prompts)
        hidden_BTD = self.model.model(
            ids_BT.to(self.device), attention_mask=mask_BT.to(self.device)
        ).last_hidden_state
        last_BD = hidden_BTD[torch.arange(len(prompts)), mask_BT.sum(1) - 1]
        return torch.log_softmax(self.model.lm_head(last_BD).float(), -1)


def _padded(sequences: Sequence[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """[B, T] token ids, filled up with zeros on the right, and a mask of the real ones."""
    width = max(map(len, sequences))
    ids_BT = torch.zeros(len(sequences), width, dtype=torch.long)
    mask_BT = torch.zeros(len(sequences), width, dtype=torch.long)
    for row, sequence in enumerate(sequences):
        ids_BT[row, : len(sequence)] = torch.tensor(sequence)
        mask_BT[row, : len(sequence)] = 1
    return ids_BT, mask_BT


class Completer:
    """Answers PROMPTS rows in this process: a batch in, its COMPLETIONS rows out, in any order."""

    def __init__(self, model: str) -> None:
        self.scorer = Scorer(model)

    def __call__(self, batch: pd.DataFrame) -> pd.DataFrame:
        scored = batch[batch["mode"] == "score"]
        questions = [Question(row.prompt, list(row.options)) for row in scored.itertuples()]
        rows = []
        for row, logprobs in zip(scored.itertuples(), self.scorer.score(questions), strict=True):
            tokens_out = int(bool(logprobs))
            rows.append(self._completion(row, "", logprobs, tokens_out))
        for row in batch[batch["mode"] != "score"].itertuples():
            if row.mode == "form":
                answer = self.scorer.generate(row.prompt, row.pattern)
            else:
                answer = self.scorer.choose(Question(row.prompt, list(row.options), "choose"))
            rows.append(self._completion(row, answer, [], len(answer.split())))
        return pd.DataFrame(rows)

    def _completion(
        self, row: PromptRow, answer: str, logprobs: Sequence[float], tokens_out: int
    ) -> dict[str, Any]:
        tokens_in = len(tokenize_prompt(self.scorer.source, row.prompt, [], "choose").prompt)
        return completion(row.prompt_id, answer, logprobs, tokens_in, tokens_out, time.time())


class Engine:
    """Processes with the model, to which Ray Data sends batches."""

    def __init__(self, model: str, config: EngineConfig) -> None:
        self.model, self.config = model, config

    def apply(self, prompts: Dataset) -> Dataset:
        from raypipe.cluster import resident, session

        number = self.config.concurrency
        threads = session.thread_variables(session.cpus_per_process(number))
        work = resident.Work(Completer, (self.model,), number, variables=threads, takes_others=True)
        return resident.map_batches(
            prompts, work, "pandas", self.config.batch_size, stays=is_small(self.model)
        )

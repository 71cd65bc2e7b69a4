"""Generation with transformers alone: for machines without vLLM, and to serve single prompts.

Options are scored as in vllm.py. In mode "choose" each option is scored whole, by the sum of its
tokens' log-probabilities, which picks among the same answers without a grammar. In mode "form"
xgrammar allows what the regular expression matches, as in vLLM.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from raypipe import extras
from raypipe.llm.config import EngineConfig
from raypipe.llm.engine import FORM_TOKENS, PromptRow, completion, is_small
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
        tokens = [
            tokenize_prompt(self.source, q.prompt, list(q.options), "score") for q in questions
        ]
        fitting = [i for i, t in enumerate(tokens) if len(t.prompt) < self.context]
        scores: list[list[float]] = [[] for _ in questions]
        if not fitting:
            return scores
        logprobs_BV = self._next_token_logprobs([tokens[i].prompt for i in fitting])
        for i, logprobs_V in zip(fitting, logprobs_BV, strict=True):
            scores[i] = logprobs_V[tokens[i].options].tolist()
        return scores

    @torch.inference_mode()
    def choose(self, question: Question) -> str:
        """The option with the largest total log-probability; "" if the prompt does not fit."""
        tokenizer = load_tokenizer(self.source)
        prompt = tokenize_prompt(self.source, question.prompt, [], "choose").prompt
        best, best_score = "", -float("inf")
        for option in question.options:
            whole = tokenizer(question.prompt + option, add_special_tokens=False)["input_ids"]
            answer = whole[len(prompt) - 1 :]
            if len(prompt) + len(answer) >= self.context:
                continue
            ids = torch.tensor([[*prompt, *answer]], device=self.device)
            logits = self.model(ids).logits[0, len(prompt) - 1 : -1].float()
            logprobs = torch.log_softmax(logits, -1)
            score = float(logprobs.gather(1, ids[0, len(prompt) :, None]).sum())
            if score > best_score:
                best, best_score = option, score
        return best

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
        width = max(map(len, prompts))
        ids_BT = torch.zeros(len(prompts), width, dtype=torch.long)
        mask_BT = torch.zeros(len(prompts), width, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            ids_BT[row, : len(prompt)] = torch.tensor(prompt)
            mask_BT[row, : len(prompt)] = 1
        hidden_BTD = self.model.model(
            ids_BT.to(self.device), attention_mask=mask_BT.to(self.device)
        ).last_hidden_state
        last_BD = hidden_BTD[torch.arange(len(prompts)), mask_BT.sum(1) - 1]
        return torch.log_softmax(self.model.lm_head(last_BD).float(), -1)


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

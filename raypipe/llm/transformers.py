"""Generation with transformers alone, for machines without vLLM, and for serving one prompt at a time.

Options are scored as in vllm.py. In mode "choose" the options are scored whole, by the sum of their tokens' log-probabilities,
which picks among the same answers without a grammar. In mode "form" xgrammar allows what the regular expression does, as in vLLM.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd
import torch
from transformers import AutoModelForCausalLM

from raypipe import extras
from raypipe.llm.config import EngineConfig
from raypipe.llm.engine import FORM_TOKENS, completion
from raypipe.llm.tokens import tokenizer, tokens


class Question(NamedTuple):
    """One prompt in memory."""

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
        loaded: Any = AutoModelForCausalLM.from_pretrained(model, dtype="auto")
        self.model = loaded.to(self.device).eval()
        self.context = int(self.model.config.max_position_embeddings)
        self._grammars: Any = None

    @torch.inference_mode()
    def score(self, questions: Sequence[Question]) -> list[list[float]]:
        """Log-probabilities of each question's options; empty where the prompt does not fit the context."""
        asked = [tokens(self.source, q.prompt, list(q.options), "score") for q in questions]
        fits = [i for i, a in enumerate(asked) if len(a.prompt) < self.context]
        answers: list[list[float]] = [[] for _ in questions]
        if not fits:
            return answers
        for i, row in zip(fits, self._last([asked[i].prompt for i in fits]), strict=True):
            answers[i] = row[asked[i].options].tolist()
        return answers

    @torch.inference_mode()
    def choose(self, question: Question) -> str:
        """The option of the largest total log-probability, or "" where the prompt does not fit."""
        encode = tokenizer(self.source)
        prompt = tokens(self.source, question.prompt, [], "choose").prompt
        best, most = "", -float("inf")
        for option in question.options:
            answer = encode(question.prompt + option, add_special_tokens=False)["input_ids"][
                len(prompt) - 1 :
            ]
            if len(prompt) + len(answer) >= self.context:
                continue
            ids = torch.tensor([[*prompt, *answer]], device=self.device)
            logits = torch.log_softmax(self.model(ids).logits[0, len(prompt) - 1 : -1].float(), -1)
            total = float(logits.gather(1, ids[0, len(prompt) :, None]).sum())
            if total > most:
                best, most = option, total
        return best

    @torch.inference_mode()
    def write(self, prompt: str, form: str) -> str:
        """The most probable answer, token by token, that a regular expression allows; "" where the prompt does not fit."""
        extras.need("rl", "llm.engine.name=transformers")
        import xgrammar
        from xgrammar.contrib.hf import LogitsProcessor

        encode = tokenizer(self.source)
        ids = tokens(self.source, prompt, [], "form").prompt
        room = min(FORM_TOKENS, self.context - len(ids))
        if room < 1:
            return ""
        if self._grammars is None:
            known = xgrammar.TokenizerInfo.from_huggingface(
                encode, vocab_size=self.model.config.vocab_size
            )
            self._grammars = xgrammar.GrammarCompiler(known)
        allowed = LogitsProcessor(self._grammars.compile_regex(form))
        asked = torch.tensor([ids], device=self.device)
        made = self.model.generate(
            asked,
            attention_mask=torch.ones_like(asked),
            max_new_tokens=room,
            do_sample=False,
            logits_processor=[allowed],
            pad_token_id=encode.pad_token_id
            if encode.pad_token_id is not None
            else encode.eos_token_id,
        )
        return str(encode.decode(made[0, len(ids) :], skip_special_tokens=True))

    def _last(self, prompts: list[list[int]]) -> torch.Tensor:
        """[B, vocabulary] log-probabilities after each prompt; padded on the right, where causal attention ignores it."""
        width = max(map(len, prompts))
        ids = torch.zeros(len(prompts), width, dtype=torch.long)
        mask = torch.zeros(len(prompts), width, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            ids[row, : len(prompt)], mask[row, : len(prompt)] = torch.tensor(prompt), 1
        hidden = self.model.model(
            ids.to(self.device), attention_mask=mask.to(self.device)
        ).last_hidden_state
        at = torch.arange(len(prompts)), mask.sum(1) - 1
        return torch.log_softmax(self.model.lm_head(hidden[at]).float(), -1)


class _Worker:
    def __init__(self, model: str) -> None:
        self.scorer = Scorer(model)

    def __call__(self, batch: pd.DataFrame) -> pd.DataFrame:
        rows = []
        scored = batch[batch["mode"] == "score"]
        answers = self.scorer.score(
            [Question(r.prompt, list(r.options)) for r in scored.itertuples()]
        )
        for row, values in zip(scored.itertuples(), answers, strict=True):
            size = len(tokens(self.scorer.source, row.prompt, [], "choose").prompt)
            rows.append(completion(row.prompt_id, "", values, size, int(bool(values)), time.time()))
        for row in batch[batch["mode"] != "score"].itertuples():
            if row.mode == "form":
                answer = self.scorer.write(row.prompt, row.pattern)
            else:
                answer = self.scorer.choose(Question(row.prompt, list(row.options), "choose"))
            size = len(tokens(self.scorer.source, row.prompt, [], "choose").prompt)
            rows.append(
                completion(row.prompt_id, answer, [], size, len(answer.split()), time.time())
            )
        return pd.DataFrame(rows)


class Engine:
    """A pool of Ray Data actors, each with the model."""

    def __init__(self, model: str, config: EngineConfig) -> None:
        self.model, self.config = model, config

    def apply(self, prompts: Any) -> Any:
        from ray.data import ActorPoolStrategy

        from raypipe.cluster.session import gpus

        return prompts.map_batches(
            _Worker,
            fn_constructor_args=(self.model,),
            batch_format="pandas",
            batch_size=self.config.batch_size,
            compute=ActorPoolStrategy(size=self.config.concurrency),
            num_gpus=min(1, gpus()),
        )

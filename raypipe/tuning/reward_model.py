"""A trained reward model r(query, answer), in this process (RecLM R19)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from raypipe.tuning.trainers import padded

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def tokens(tokenizer: PreTrainedTokenizerBase, prompt: str, answer: str) -> list[int]:
    """A query and its answer as the reward model reads them, without an end token."""
    prompt_ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    answer_ids = tokenizer(answer, add_special_tokens=False)["input_ids"]
    return [tokenizer.bos_token_id, *prompt_ids, *answer_ids]


class RewardModel:
    """A reward model on one device.

    Args:
        folder: written by `trainers.rewards`.
    """

    def __init__(self, folder: str, device: torch.device) -> None:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        self.tokenizer = padded(AutoTokenizer.from_pretrained(folder, padding_side="right"))
        self.device = device
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype="float32", num_labels=1, pad_token_id=self.tokenizer.pad_token_id
        )
        self.model = model.to(device).eval()

    @torch.inference_mode()
    def score(
        self, prompts: Sequence[str], answers: Sequence[str], batch_size: int = 64
    ) -> list[float]:
        """r(query, answer) of each pair."""
        scores: list[float] = []
        for start in range(0, len(prompts), batch_size):
            stop = start + batch_size
            scores += self._score_batch(prompts[start:stop], answers[start:stop])
        return scores

    def _score_batch(self, prompts: Sequence[str], answers: Sequence[str]) -> list[float]:
        ids = [tokens(self.tokenizer, *pair) for pair in zip(prompts, answers, strict=True)]
        width = max(map(len, ids))
        ids_BT = torch.full((len(ids), width), self.tokenizer.pad_token_id)
        mask_BT = torch.zeros(len(ids), width, dtype=torch.long)
        for row, row_ids in enumerate(ids):
            ids_BT[row, : len(row_ids)] = torch.tensor(row_ids)
            mask_BT[row, : len(row_ids)] = 1
        output = self.model(
            input_ids=ids_BT.to(self.device), attention_mask=mask_BT.to(self.device)
        )
        return output.logits[:, 0].tolist()

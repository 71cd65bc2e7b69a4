"""Generation by vLLM under Ray Data: the engine of every real run.

Options are scored by asking vLLM for the log-probabilities of their first tokens at the first generated position, which costs
no more than one token. In mode "choose" the answer is written under a structured-output choice over the options, in mode "form"
under the regular expression that the one option is.
"""

from __future__ import annotations

import time
from typing import Any

import pandas as pd

from raypipe.llm.engine import FORM_TOKENS, completion
from raypipe.llm.options import tokens
from raypipe.sections import EngineConfig


def context_of(model: str, most: int = 2048) -> int:
    """The context that the engine is started with: the model's own, at most `most` tokens (L31)."""
    from transformers import AutoConfig

    return min(int(AutoConfig.from_pretrained(model).max_position_embeddings), most)


class Engine:
    """vLLM replicas in Ray Data actors."""

    def __init__(self, model: str, config: EngineConfig) -> None:
        self.model, self.config = model, config

    def settings(self, gpu: bool, cpus: int) -> dict[str, Any]:
        """Arguments of vLLMEngineProcessorConfig.

        Args:
            cpus: that an engine computes with where there is no GPU.
        """
        config = self.config
        engine: dict[str, Any] = {
            "max_model_len": context_of(self.model),
            "max_num_seqs": config.max_num_seqs,
            "max_num_batched_tokens": max(config.max_batched_tokens, context_of(self.model)),
            "enable_prefix_caching": True,
            "dtype": config.dtype if gpu or config.dtype != "auto" else "float32",
            "tensor_parallel_size": config.tensor_parallel,
            "seed": 0,
            "disable_log_stats": True,
            # its masks for the form of profiles take a third of xgrammar's time, and these are most of what an engine does for a
            # small LLM; the answers are the same
            "structured_outputs_config": {"backend": "guidance"},
        }
        settings: dict[str, Any] = {
            "model_source": self.model,
            "engine_kwargs": engine,
            "batch_size": config.batch_size,
            "concurrency": config.concurrency,
            "chat_template_stage": False,
            "tokenize_stage": False,
            "detokenize_stage": False,
            # metrics for Ray's dashboard cost a small LLM a tenth of its speed
            "log_engine_metrics": False,
        }
        if not gpu:
            engine |= {"enforce_eager": True, "block_size": 32}
            # engines take all cores: at this stage nothing else computes
            variables = {"VLLM_CPU_KVCACHE_SPACE": str(config.kv_cache_gib), "VLLM_CPU_NUM_OF_RESERVED_CPU": "0"}
            if config.tensor_parallel == 1:
                # scheduler and model in one process: as two, the one spins on a core while it waits for the other
                engine["distributed_executor_backend"] = "uni"
                variables |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "OMP_NUM_THREADS": str(cpus)}
            settings |= {
                "accelerator_type": None,
                "placement_group_config": {"bundles": [{"CPU": 1}]},
                "runtime_env": {"env_vars": variables},
            }
        return settings

    def apply(self, prompts: Any) -> Any:
        from ray.data.llm import build_processor, vLLMEngineProcessorConfig

        from raypipe.cluster import session

        model, longest = self.model, context_of(self.model) - 1

        def tokenized(batch: pd.DataFrame) -> pd.DataFrame:
            """What a row needs from here on and no more: each column is copied at every step to the answer."""
            made = [tokens(model, p, list(o), m) for p, o, m in zip(batch["prompt"], batch["options"], batch["mode"], strict=True)]
            return pd.DataFrame(
                {
                    "prompt_id": batch["prompt_id"],
                    "mode": batch["mode"],
                    "options": [[] if m == "score" else list(o) for o, m in zip(batch["options"], batch["mode"], strict=True)],
                    "option_tokens": [t.options for t in made],
                    "tokens_in": [len(t.prompt) for t in made],
                    "tokenized_prompt": [t.prompt[:longest] for t in made],
                }
            )

        def request(row: dict[str, Any]) -> dict[str, Any]:
            scored, form = row["mode"] == "score", row["mode"] == "form"
            options = [str(o) for o in row.pop("options")]
            room = longest + 1 - len(row["tokenized_prompt"])
            # every row has the same keys, because the rows of a batch become one table
            parameters = {
                "temperature": 0.0,
                "seed": 0,
                "max_tokens": 1 if scored else min(FORM_TOKENS, room) if form else 32,
                "detokenize": not scored,
                "logprob_token_ids": sorted({int(t) for t in row["option_tokens"]}) if scored else None,
                "structured_outputs": None if scored else {"regex": options[0]} if form else {"choice": options},
            }
            return {"sampling_params": parameters}

        def answer(row: dict[str, Any]) -> dict[str, Any]:
            fits = row["tokens_in"] <= longest
            scores: list[float] = []
            if row["mode"] == "score" and fits:
                table = {int(k): v["logprob"] for k, v in row["logprobs"][0].items() if v is not None}
                scores = [table[int(t)] for t in row["option_tokens"]]
            text = row["generated_text"] if row["mode"] != "score" and fits else ""
            return completion(row["prompt_id"], text, scores, row["tokens_in"], int(row["num_generated_tokens"]), time.time())

        settings = self.settings(session.gpus() > 0, session.cpus_each(self.config.concurrency))
        processor = build_processor(vLLMEngineProcessorConfig(**settings), preprocess=request, postprocess=answer)
        return processor(prompts.map_batches(tokenized, batch_format="pandas", batch_size=256))

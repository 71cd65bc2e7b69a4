"""Generation by vLLM under Ray Data: the engine of every real run.

Options are scored by asking vLLM for the log-probabilities of their first tokens at the first generated position, which costs
no more than one token. In mode "choose" the answer is written under a structured-output choice over the options, in mode "form"
under the regular expression that the one option is.

An actor holds vLLM's engine itself: ray.data.llm passes each row through more stages and an asynchronous front, which leave a
small LLM half of its speed (docs/results.md).
"""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

import pyarrow as pa

from raypipe.llm.config import EngineConfig
from raypipe.llm.engine import FORM_TOKENS, completion
from raypipe.llm.tokens import tokens_of


def context_of(model: str, most: int = 2048) -> int:
    """The context that the engine is started with: the model's own, at most `most` tokens (L31)."""
    from transformers import AutoConfig

    return min(int(AutoConfig.from_pretrained(model).max_position_embeddings), most)


def tokenized(batch: pa.Table, model: str) -> pa.Table:
    """PROMPTS as token ids, away from the engine, which goes on meanwhile."""
    made = tokens_of(model, *(batch[name].to_pylist() for name in ("prompt", "options", "mode")))
    rows = batch.select(["prompt_id", "mode", "pattern", "options"])
    for name, values in (
        ("tokens", [t.prompt for t in made]),
        ("option_tokens", [t.options for t in made]),
    ):
        rows = rows.append_column(name, pa.array(values, pa.list_(pa.int32())))
    return rows


class Replica:
    """vLLM's engine in an actor of Ray Data, which calls it for several batches at once.

    Args:
        model: folder or hub id.
        settings: of vLLM's EngineArgs.
    """

    def __init__(self, model: str, settings: dict[str, Any]) -> None:
        from vllm import EngineArgs, LLMEngine, SamplingParams
        from vllm.sampling_params import StructuredOutputsParams

        self.sampling, self.form = (
            SamplingParams,
            StructuredOutputsParams,
        )  # to import them for each prompt would take time
        self.context = int(settings["max_model_len"])
        self.engine = LLMEngine.from_engine_args(EngineArgs(model=model, **settings))
        self.requests = itertools.count()
        self.finished: dict[str, tuple[Any, float]] = {}

    async def __call__(self, batch: pa.Table) -> pa.Table:
        """COMPLETIONS of a batch that `tokenized` has made."""
        rows = batch.to_pylist()
        asked = [self._ask(row) for row in rows]
        waiting = {request for request in asked if request}
        while waiting := waiting - self.finished.keys():
            for output in self.engine.step():  # all calls' requests go on, whoever steps
                if output.finished:
                    self.finished[output.request_id] = output, time.time()
            await asyncio.sleep(0)
        return pa.Table.from_pylist(
            [self._row(row, request) for row, request in zip(rows, asked, strict=True)]
        )

    def _ask(self, row: dict[str, Any]) -> str:
        """The number of a new request; empty where the prompt does not fit the context."""
        room = self.context - len(row["tokens"])
        if room < 1:
            return ""
        if row["mode"] == "score":
            wanted = sorted(set(row["option_tokens"]))
            parameters = self.sampling(
                temperature=0.0, max_tokens=1, detokenize=False, logprob_token_ids=wanted
            )
        elif row["mode"] == "form":
            form = self.form(regex=row["pattern"])
            parameters = self.sampling(
                temperature=0.0, max_tokens=min(FORM_TOKENS, room), structured_outputs=form
            )
        else:
            parameters = self.sampling(
                temperature=0.0, max_tokens=32, structured_outputs=self.form(choice=row["options"])
            )
        request = str(next(self.requests))
        self.engine.add_request(request, {"prompt_token_ids": row["tokens"]}, parameters)
        return request

    def _row(self, row: dict[str, Any], request: str) -> dict[str, Any]:
        if not request:
            return completion(row["prompt_id"], "", [], len(row["tokens"]), 0, time.time())
        output, at = self.finished.pop(request)
        (made,) = output.outputs
        scores = [made.logprobs[0][t].logprob for t in row["option_tokens"]]
        return completion(
            row["prompt_id"], made.text, scores, len(row["tokens"]), len(made.token_ids), at
        )


class Engine:
    """vLLM replicas in Ray Data actors."""

    def __init__(self, model: str, config: EngineConfig) -> None:
        self.model, self.config = model, config

    def settings(self, gpu: bool) -> dict[str, Any]:
        """Arguments of vLLM's EngineArgs, beside the model."""
        config = self.config
        settings: dict[str, Any] = {
            "max_model_len": context_of(self.model),
            "max_num_seqs": config.max_num_seqs,
            "max_num_batched_tokens": max(config.max_batched_tokens, context_of(self.model)),
            "enable_prefix_caching": True,
            "dtype": config.dtype if gpu or config.dtype != "auto" else "float32",
            "tensor_parallel_size": config.tensor_parallel,
            "distributed_executor_backend": "uni"
            if config.tensor_parallel == 1
            else "mp",  # an actor has devices of one node
            "seed": 0,
            "disable_log_stats": True,
            # its masks for the form of profiles take a third of xgrammar's time, and these are most of what an engine does for a
            # small LLM; the answers are the same
            "structured_outputs_config": {"backend": "guidance"},
        }
        if not gpu:
            settings |= {"enforce_eager": True, "block_size": 32}
        return settings

    def variables(self, gpu: bool, cpus: int) -> dict[str, str]:
        """Environment of the engine's process.

        Args:
            cpus: that an engine computes with where there is no GPU.
        """
        if gpu:
            return {}
        # engines take all cores: at this stage nothing else computes
        variables = {
            "VLLM_CPU_KVCACHE_SPACE": str(self.config.kv_cache_gib),
            "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
        }
        if self.config.tensor_parallel == 1:
            # scheduler and model in one process: as two, the one spins on a core while it waits for the other
            variables |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "OMP_NUM_THREADS": str(cpus)}
        return variables

    def apply(self, prompts: Any) -> Any:
        from ray.data import ActorPoolStrategy

        from raypipe.cluster import session
        from raypipe.cluster.ray_data import blocks

        config, gpu = self.config, session.gpus() > 0
        variables = self.variables(gpu, session.cpus_each(config.concurrency))
        # an engine has as many blocks as it computes at once, one to go on with, and one whose answers are being written
        at_once = blocks(config.max_num_seqs) + 2
        asked = prompts.map_batches(
            tokenized, fn_kwargs={"model": self.model}, batch_format="pyarrow", batch_size=None
        )
        return asked.map_batches(
            Replica,
            fn_constructor_args=(self.model, self.settings(gpu)),
            batch_format="pyarrow",
            batch_size=None,
            compute=ActorPoolStrategy(
                size=config.concurrency,
                max_tasks_in_flight_per_actor=at_once,
                max_concurrent_calls_per_actor=at_once,
            ),
            # half a CPU: where engines are as many as CPUs, the tasks that feed them still have a place
            **({"num_gpus": config.tensor_parallel} if gpu else {"num_cpus": 0.5}),
            runtime_env={"env_vars": variables},
        )

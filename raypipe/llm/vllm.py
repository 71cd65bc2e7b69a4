"""Generation with vLLM on Ray Data: the engine of every real run.

Options are scored by the log-probabilities of the tokens with which they part (option_tree.py): one
generated token at each such place, where vLLM's prefix cache knows all but the last tokens. In mode
"choose" a structured output restricts the answer to the options, in mode "form" to the regular
expression.

An actor holds vLLM's engine directly. ray.data.llm passes each row through more stages and an
asynchronous front end, which halves the speed of a small LLM.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from raypipe.llm.config import EngineConfig
from raypipe.llm.engine import FORM_TOKENS, completion, is_small
from raypipe.llm.option_tree import OptionTree
from raypipe.llm.tokens import tokenize_prompts

if TYPE_CHECKING:
    from ray.data import Dataset

#: the most tokens of an answer in mode "choose"
CHOICE_TOKENS = 32


def context_length(model: str, limit: int = 2048) -> int:
    """The engine's context length: the model's own, at most `limit` tokens (L31)."""
    from transformers import AutoConfig

    return min(int(AutoConfig.from_pretrained(model).max_position_embeddings), limit)


def tokenize(batch: pa.Table, model: str) -> pa.Table:
    """PROMPTS rows with token ids, computed outside the engine, which continues meanwhile."""
    columns = [batch[name].to_pylist() for name in ("prompt", "options", "mode")]
    tokens = tokenize_prompts(model, *columns)
    token_lists = pa.list_(pa.int32())
    rows = batch.select(["prompt_id", "mode", "pattern", "options"])
    rows = rows.append_column("tokens", pa.array([t.prompt for t in tokens], token_lists))
    trees = [t.options or OptionTree([], [], []) for t in tokens]
    for name in OptionTree._fields:
        lists = pa.array([getattr(tree, name) for tree in trees], pa.list_(token_lists))
        rows = rows.append_column(name, lists)
    return rows


class Replica:
    """vLLM's engine in a Ray actor, which calls it for several batches concurrently.

    Args:
        model: folder or hub id.
        settings: arguments of vLLM's EngineArgs.
    """

    def __init__(self, model: str, settings: dict[str, Any]) -> None:
        from vllm import EngineArgs, LLMEngine, SamplingParams
        from vllm.sampling_params import StructuredOutputsParams

        # kept here, because an import per prompt takes time
        self.sampling, self.structured = SamplingParams, StructuredOutputsParams
        self.context = int(settings["max_model_len"])
        self.engine = LLMEngine.from_engine_args(EngineArgs(model=model, **settings))
        self.request_ids = itertools.count()
        self.finished: dict[str, tuple[Any, float]] = {}

    async def __call__(self, batch: pa.Table) -> pa.Table:
        """COMPLETIONS rows of a batch that `tokenize` returned."""
        rows = batch.to_pylist()
        request_ids = [self._add_requests(row) for row in rows]
        waiting = set(itertools.chain.from_iterable(request_ids))
        while waiting := waiting - self.finished.keys():
            for output in self.engine.step():  # a step advances the requests of all calls
                if output.finished:
                    self.finished[output.request_id] = output, time.time()
            await asyncio.sleep(0)
        answers = [self._answer(*pair) for pair in zip(rows, request_ids, strict=True)]
        return pa.Table.from_pylist(answers)

    def _add_requests(self, row: dict[str, Any]) -> list[str]:
        """The ids of new requests: one for each place where options part.

        There are none if the prompt does not fit the context.
        """
        sequences = [[*row["tokens"], *prefix] for prefix in row["prefixes"] or [[]]]
        if max(map(len, sequences)) >= self.context:
            return []
        request_ids = []
        for place, tokens in enumerate(sequences):
            request_id = str(next(self.request_ids))
            parameters = self._parameters(row, place, self.context - len(tokens))
            self.engine.add_request(request_id, {"prompt_token_ids": tokens}, parameters)
            request_ids.append(request_id)
        return request_ids

    def _parameters(self, row: dict[str, Any], place: int, room: int) -> Any:
        """vLLM's SamplingParams.

        Args:
            place: the place of the options that is looked at, in mode "score".
            room: tokens that the context has left for the answer.
        """
        if row["choices"]:
            return self.sampling(
                temperature=0.0,
                max_tokens=1,
                detokenize=False,
                logprob_token_ids=sorted(row["choices"][place]),
            )
        if row["mode"] == "form":
            pattern = self.structured(regex=row["pattern"])
            return self.sampling(
                temperature=0.0, max_tokens=min(FORM_TOKENS, room), structured_outputs=pattern
            )
        choice = self.structured(choice=row["options"])
        return self.sampling(temperature=0.0, max_tokens=CHOICE_TOKENS, structured_outputs=choice)

    def _answer(self, row: dict[str, Any], request_ids: list[str]) -> dict[str, Any]:
        """The COMPLETIONS row of finished requests."""
        tokens_in = len(row["tokens"])
        if not request_ids:
            return completion(row["prompt_id"], "", [], tokens_in, 0, time.time())
        outputs = [self.finished.pop(request_id) for request_id in request_ids]
        answers = [output.outputs[0] for output, _ in outputs]
        tree = OptionTree(row["prefixes"], row["choices"], row["paths"])
        logprobs = []
        for answer, choices in zip(answers, tree.choices, strict=False):  # else there is no place
            logprobs.append([answer.logprobs[0][token].logprob for token in choices])
        return completion(
            row["prompt_id"],
            answers[0].text,
            tree.scores(logprobs) if logprobs else [],
            tokens_in,
            sum(len(answer.token_ids) for answer in answers),
            max(finished_at for _, finished_at in outputs),
        )


class Engine:
    """vLLM replicas, to which Ray Data sends batches."""

    def __init__(self, model: str, config: EngineConfig) -> None:
        self.model, self.config = model, config

    def settings(self, gpu: bool) -> dict[str, Any]:
        """Arguments of vLLM's EngineArgs, except the model."""
        config = self.config
        context = context_length(self.model)
        one_device = config.tensor_parallel == 1
        settings: dict[str, Any] = {
            "max_model_len": context,
            "max_num_seqs": config.max_num_seqs,
            "max_num_batched_tokens": max(config.max_batched_tokens, context),
            "enable_prefix_caching": True,
            "dtype": config.dtype if gpu or config.dtype != "auto" else "float32",
            "tensor_parallel_size": config.tensor_parallel,
            # not Ray: an actor has the devices of one node
            "distributed_executor_backend": "uni" if one_device else "mp",
            "seed": 0,
            "disable_log_stats": True,
            # gives the same answers as xgrammar and computes the token masks of profiles in a third
            # of the time, which is most of an engine's work for a small LLM
            "structured_outputs_config": {"backend": "guidance"},
        }
        if not gpu:
            settings |= {"enforce_eager": True, "block_size": 32}
        return settings

    def variables(self, gpu: bool, cpus: int) -> dict[str, str]:
        """Environment variables of the engine's process.

        Args:
            cpus: CPUs of one engine; used only without a GPU.
        """
        if gpu:
            return {}
        # engines take all cores: nothing else computes during this stage
        variables = {
            "VLLM_CPU_KVCACHE_SPACE": str(self.config.kv_cache_gib),
            "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
        }
        if self.config.tensor_parallel == 1:
            # scheduler and model share a process: of two, one would spin while it waits
            variables |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "OMP_NUM_THREADS": str(cpus)}
        return variables

    def apply(self, prompts: Dataset) -> Dataset:
        from raypipe.cluster import resident, session
        from raypipe.cluster.ray_data import block_count

        config, gpu = self.config, session.gpus() > 0
        # the blocks that compute at a time, one that waits, and one whose answers are being written
        concurrent_blocks = block_count(config.max_num_seqs) + 2
        tokenized = prompts.map_batches(
            tokenize,  # type: ignore[arg-type]  # Ray's types do not know about fn_kwargs
            fn_kwargs={"model": self.model},
            batch_format="pyarrow",
            batch_size=None,
        )
        work = resident.Work(
            Replica,
            (self.model, self.settings(gpu)),
            config.concurrency,
            concurrent_blocks,
            self.variables(gpu, session.cpus_per_process(config.concurrency)),
            gpus=config.tensor_parallel if gpu else 0,
        )
        return resident.map_batches(tokenized, work, "pyarrow", None, stays=is_small(self.model))

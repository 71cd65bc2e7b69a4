"""The vLLM engine, with a stand-in for vLLM itself."""

import asyncio
import subprocess
import sys
import threading
import time
from importlib.metadata import entry_points
from types import SimpleNamespace

import psutil
import pyarrow as pa
import pytest

from raypipe.llm import orphans, vllm
from raypipe.llm.config import EngineConfig
from raypipe.llm.embedded import CONTEXT
from raypipe.llm.option_tree import OptionTree
from tests.support.one_process import Blocks

CHAIN = """
import multiprocessing, os, sys, time
from raypipe.llm.orphans import watch

def child():
    watch()
    print(os.getpid(), flush=True)
    time.sleep(120)

if __name__ == "__main__":
    multiprocessing.get_context("spawn").Process(target=child).start()
    time.sleep(120)
"""


def test_an_engine_ends_with_the_process_that_started_it(tmp_path):
    (tmp_path / "chain.py").write_text(CHAIN)
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "chain.py")], stdout=subprocess.PIPE, text=True
    )
    child = psutil.Process(int(parent.stdout.readline()))
    assert child.is_running()
    parent.kill()
    parent.wait()
    child.wait(timeout=20)


def test_vllm_finds_the_plugin():
    (plugin,) = entry_points(group="vllm.general_plugins", name="raypipe_orphans")
    assert plugin.load() is orphans.watch


class FakeEngine:
    """Stands for vLLM's engine. Each step answers the two oldest requests, with their number."""

    def __init__(self):
        self.open, self.requests, self.steps = [], {}, 0

    @classmethod
    def from_engine_args(cls, args):
        return cls()

    def add_request(self, request_id, prompt, parameters):
        self.open.append(request_id)
        self.requests[request_id] = prompt["prompt_token_ids"], parameters

    def step(self):
        self.steps += 1
        now, self.open = self.open[:2], self.open[2:]
        return [SimpleNamespace(request_id=r, finished=True, outputs=[self.answer(r)]) for r in now]

    def answer(self, request):
        wanted = getattr(self.requests[request][1], "logprob_token_ids", [])
        table = {t: SimpleNamespace(logprob=-float(t)) for t in wanted}
        return SimpleNamespace(
            text="" if wanted else f"answer {request}", logprobs=[table], token_ids=[0]
        )


@pytest.fixture
def fake_vllm(monkeypatch):
    fake = SimpleNamespace(
        EngineArgs=SimpleNamespace, LLMEngine=FakeEngine, SamplingParams=SimpleNamespace
    )
    monkeypatch.setitem(sys.modules, "vllm", fake)
    monkeypatch.setitem(
        sys.modules,
        "vllm.sampling_params",
        SimpleNamespace(StructuredOutputsParams=SimpleNamespace),
    )


@pytest.fixture
def replica(llm, fake_vllm):
    return vllm.Replica(llm[0], {"max_model_len": 64})


def prompts_of(rows):
    return pa.Table.from_pylist(
        [
            dict(zip(("prompt_id", "prompt", "mode", "options"), r, strict=True))
            | {"pattern": "[a-f]{3}" if r[2] == "form" else ""}
            for r in rows
        ]
    )


def tokenized(llm, rows):
    return vllm.tokenize(prompts_of(rows), llm[0])


def test_batches_share_an_engine_and_each_gets_its_own_answers(llm, replica):
    options = [' "Alien (1979)"', ' "Heat (1995)"', ' "Alien (1979)"']
    batches = [
        tokenized(
            llm, [(f"{name}{i}", f"Question {name}{i} Answer:", "score", options) for i in range(5)]
        )
        for name in "ab"
    ]

    async def both():
        return await asyncio.gather(*map(replica, batches))

    for name, answers in zip("ab", asyncio.run(both()), strict=True):
        rows = answers.to_pylist()
        assert [r["prompt_id"] for r in rows] == [f"{name}{i}" for i in range(5)]
        for row, prompt in zip(
            rows,
            tokenized(llm, [("", "Question x0 Answer:", "score", options)] * 5).to_pylist(),
            strict=True,
        ):
            assert (
                row["logprobs"] == [-float(prompt["choices"][0][n]) for n in (0, 1, 0)]
                and row["answer"] == ""
            )
            assert row["tokens_out"] == 1 and row["finished_at"] <= time.time()
    assert replica.engine.steps == 5, "ten requests of two batches, two in each step"
    assert not replica.finished, "answers are dropped once they are returned"


def test_requests_follow_their_mode_and_overlong_prompts_are_not_sent(llm, replica):
    long = "word " * 100
    rows = [
        ("s", "Which? Answer:", "score", [" A", " B"]),
        ("c", "Which? Answer:", "choose", ["A", "B"]),
        ("f", "Write. Answer:", "form", []),
        ("l", long, "score", [" A"]),
    ]
    batch = tokenized(llm, rows)
    answers = {r["prompt_id"]: r for r in asyncio.run(replica(batch)).to_pylist()}
    parameters = [p for _, p in replica.engine.requests.values()]
    expected = []
    for row in batch.to_pylist()[:3]:
        expected.append([*row["tokens"], *(row["prefixes"] or [[]])[0]])
    assert [tokens for tokens, _ in replica.engine.requests.values()] == expected
    assert len(parameters) == 3 and all(p.temperature == 0 for p in parameters)
    assert parameters[0].max_tokens == 1 and parameters[0].logprob_token_ids == sorted(
        batch["choices"].to_pylist()[0][0]
    )
    assert (
        parameters[1].structured_outputs.choice == ["A", "B"]
        and parameters[2].structured_outputs.regex == "[a-f]{3}"
    )
    assert parameters[2].max_tokens == 64 - len(batch["tokens"].to_pylist()[2]), (
        "an answer fits into the rest of the context"
    )
    assert answers["c"]["answer"] == "answer 1" and answers["f"]["answer"] == "answer 2"
    assert (
        answers["l"]["answer"] == ""
        and answers["l"]["logprobs"] == []
        and answers["l"]["tokens_out"] == 0
    )


def test_options_that_part_at_two_places_take_a_request_for_each(llm, replica):
    options = [" AA", " AB", " B"]
    (row,) = tokenized(llm, [("s", "Which? Answer:", "score", options)]).to_pylist()
    assert len(row["prefixes"]) == 2, "the tokenizer splits letters"
    answer = asyncio.run(replica(tokenized(llm, [("s", "Which? Answer:", "score", options)])))
    (answer,) = answer.to_pylist()
    sent = [tokens for tokens, _ in replica.engine.requests.values()]
    assert sent == [[*row["tokens"], *prefix] for prefix in row["prefixes"]]
    tree = OptionTree(row["prefixes"], row["choices"], row["paths"])
    expected = tree.scores([[-float(token) for token in choices] for choices in tree.choices])
    assert answer["logprobs"] == pytest.approx(expected, abs=1e-3) and answer["tokens_out"] == 2


def test_every_block_of_prompts_is_answered(llm, fake_vllm, one_process):
    blocks = []
    for name in "ab":
        rows = [(f"{name}{i}", f"Question {i} Answer:", "score", [" A", " B"]) for i in range(3)]
        blocks.append(prompts_of(rows))
    answered = vllm.Engine(llm[0], EngineConfig()).apply(Blocks(blocks))
    rows = list(answered.iter_rows())
    assert [row["prompt_id"] for row in rows] == ["a0", "a1", "a2", "b0", "b1", "b2"]
    assert all(len(row["logprobs"]) == 2 for row in rows)


def test_the_settings_of_the_engine_follow_the_machine_and_the_llm(llm):
    config = EngineConfig(max_batched_tokens=64)
    on_cpu = vllm.Engine(llm[0], config).settings(gpu=False)
    assert on_cpu["max_model_len"] == CONTEXT <= on_cpu["max_num_batched_tokens"], (
        "a whole prompt fits into a step"
    )
    assert on_cpu["dtype"] == "float32" and on_cpu["enforce_eager"]
    assert on_cpu["distributed_executor_backend"] == "uni"
    two = vllm.Engine(llm[0], config.model_copy(update={"tensor_parallel": 2}))
    on_gpus = two.settings(gpu=True)
    assert on_gpus["dtype"] == "auto" and "enforce_eager" not in on_gpus
    assert on_gpus["distributed_executor_backend"] == "mp", "an actor has the devices of one node"
    half = vllm.Engine(llm[0], config.model_copy(update={"dtype": "bfloat16"}))
    assert half.settings(gpu=False)["dtype"] == "bfloat16"


def test_without_a_gpu_one_engine_process_gets_its_share_of_the_cores(llm):
    engine = vllm.Engine(llm[0], EngineConfig(kv_cache_gib=3))
    variables = engine.variables(gpu=False, cpus=4)
    assert variables["VLLM_CPU_KVCACHE_SPACE"] == "3" and variables["OMP_NUM_THREADS"] == "4"
    assert engine.variables(gpu=True, cpus=4) == {}
    two = vllm.Engine(llm[0], EngineConfig(tensor_parallel=2)).variables(gpu=False, cpus=4)
    assert "OMP_NUM_THREADS" not in two, "several processes: vLLM shares the cores out"


def test_a_process_that_no_python_process_started_is_not_watched():
    before = threading.active_count()
    orphans.watch()
    assert threading.active_count() == before

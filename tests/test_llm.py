"""The embedded LLM, tokens of options, the transformers engine, and the tuning pieces."""

import asyncio
import re
import subprocess
import sys
import time
from importlib.metadata import entry_points
from types import SimpleNamespace

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pytest
import torch
from pydantic import SecretStr

from raypipe.data.config import DataConfig
from raypipe.data.dataset import read
from raypipe.data.split import make_split
from raypipe.errors import ConfigError
from raypipe.llm import embedded, orphans, vllm
from raypipe.llm import endpoint as endpoint_engine
from raypipe.llm.config import EmbeddedConfig, EndpointConfig, EngineConfig
from raypipe.llm.scripted import script
from raypipe.llm.tokens import first_token, tokenize_prompt
from raypipe.llm.transformers import Question, Scorer
from raypipe.papers.llama4rec import llm as llm_stages
from raypipe.papers.llama4rec import rendering
from raypipe.papers.llama4rec.config import PromptConfig, load
from raypipe.papers.llama4rec.instructions import newest_histories
from raypipe.papers.llama4rec.stages import plan
from raypipe.pipeline.stage import Context
from raypipe.pipeline.store import Store
from raypipe.prompts.contract import Completion, Person, Words
from raypipe.prompts.templates import listwise_constrained
from raypipe.steps import completions
from raypipe.steps.tuning import refuse_long
from raypipe.tuning import chat, sft

SMALL = EmbeddedConfig(hidden_size=32, intermediate_size=64, layers=1, heads=1, pieces=400)


@pytest.fixture(scope="module")
def llm(toy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("llm")
    corpus = [t for t in toy.dataset.items["title"]] + list(toy.dataset.items["text"])
    titles = list(toy.dataset.items["title"])[:50]
    embedded.build(corpus, titles, SMALL, 0, folder)
    return str(folder), titles


def test_popular_titles_are_one_token_and_all_text_survives(llm, toy):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(llm[0])
    text = f'The user watched "{llm[1][0]}", "{llm[1][1]}". Answer:'
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert [tokenizer.decode(i) for i in ids if '"' in tokenizer.decode(i)] == [
        f' "{t}"' for t in llm[1][:2]
    ]
    odd = 'Ça va?\n"Unseen – title" 3.8 ☂'
    assert tokenizer.decode(tokenizer(odd, add_special_tokens=False)["input_ids"]) == odd


def test_options_have_their_own_first_tokens(llm):
    folder, titles = llm
    own = [first_token(folder, f' "{t}"') for t in titles]
    assert len(set(own)) == len(titles)
    assert len({first_token(folder, f" {n}") for n in range(1, 6)}) == 5
    got = tokenize_prompt(folder, "Answer:", [' "' + titles[0] + '"'], "score")
    assert got.prompt[0] == 1 and got.options == own[:1]
    assert tokenize_prompt(folder, "Answer:", [" x"], "choose").options == []


def test_scores_do_not_depend_on_the_batch(llm):
    folder, titles = llm
    scorer = Scorer(folder)
    asked = [
        Question(f'"{t}"' * (n + 1) + " Answer:", [f' "{x}"' for x in titles[:3]])
        for n, t in enumerate(titles[:6])
    ]
    together, alone = scorer.score(asked), [scorer.score([q])[0] for q in asked]
    assert np.allclose(together, alone, atol=1e-4)
    logits = scorer.model(
        torch.tensor([tokenize_prompt(folder, asked[0].prompt, [], "choose").prompt])
    ).logits[0, -1]
    expected = torch.log_softmax(logits, -1)[
        tokenize_prompt(folder, "", list(asked[0].options), "score").options
    ]
    assert together[0] == pytest.approx(expected.tolist(), abs=1e-4)


def test_prompts_beyond_the_context_get_no_answer(llm):
    scorer = Scorer(llm[0])
    long = "word " * 3000 + "Answer:"
    assert scorer.score([Question(long, [" a", " b"]), Question("Answer:", [" a", " b"])])[0] == []
    assert scorer.choose(Question(long, [" a"], "choose")) == ""
    assert scorer.choose(Question("Answer:", [" a", " b c"], "choose")) in (" a", " b c")


def test_the_scripted_engine_repeats_itself():
    row = pd.Series({"prompt_id": "1", "prompt": "p", "options": [" a", " b"], "mode": "score"})
    assert script(row)["logprobs"] == script(row)["logprobs"] != []


def test_the_corpus_holds_no_validation_or_test_item_as_an_answer(toy):
    rows = toy.rows("direct")
    train = rows[(rows["part"] == "train") & ~rows["held"]]
    taken = [g["i"].to_numpy() for _, g in train.groupby("u")]
    texts = [
        t
        for t in rendering.corpus(toy.dataset, taken, [], PromptConfig(history=5), 5)
        if t.startswith("The user watched")
    ]
    named = sum(t.count('"') // 2 for t in texts)
    assert len(texts) > len(toy.users)
    assert named >= sum(len(t) - 1 for t in taken if len(t) > 1), (
        "every training item is in some window"
    )


def test_every_rating_is_read_once_in_windows_of_their_own_length(toy):
    rows = toy.rows("rating")
    rated = [
        (g["i"].to_numpy(), g["rating"].to_numpy())
        for _, g in rows[rows["part"] == "train"].groupby("u")
    ]
    texts = [
        t
        for t in rendering.corpus(toy.dataset, [], rated, PromptConfig(history=5), 9)
        if t.startswith("The user rated")
    ]
    counts = [t.count('":') for t in texts]
    assert max(counts) == 9 and sum(counts) == sum(len(items) for items, _ in rated)


def test_an_llm_of_two_datasets_has_read_both_and_knows_the_titles_of_both(toy, tmp_path):
    one = {"name": "toy", "options": {"users": 40, "items": 66}}
    store, key = Store(str(tmp_path)), "k" * 64
    for name, given in (("toy", one), ("folder", {**one, "options": {"users": 30, "items": 72}})):
        config = DataConfig(**given)
        dataset = read(config)
        for part, made in (
            ("data", dataset),
            ("split", make_split(dataset.interactions, config, 2)),
        ):
            with store.writing(f"{name}/{part}", key, {}) as out:
                made.save(out)
    run = load(
        "toy",
        {
            "llm.tune.sources": [{"data": one}, {"data": {"name": "folder"}}],
            "llm.embedded": SMALL.model_dump(),
        },
    )
    inputs = next(s for s in plan(run) if s.name == "llm/base").inputs
    out = tmp_path / "out"
    out.mkdir()
    ctx = Context(
        store, "llm/base", key, out, "", {local: (stage, key) for local, stage in inputs.items()}
    )
    made = llm_stages._prepare_embedded(ctx, run, 0)
    tokenizer = embedded.PreTrainedTokenizerFast.from_pretrained(out / "untrained")
    read_texts = set(pd.read_parquet(out / "corpus.parquet")["answer"])
    shares = []
    for number in "01":
        source = llm_stages.tables(ctx, number)
        titles = source.dataset.items["title"]
        assert all(
            len(tokenizer(f' "{t}"', add_special_tokens=False)["input_ids"]) == 1 for t in titles
        )
        own = set(rendering.corpus(source.dataset, [], [], run.prompts, run.rated))
        assert own <= read_texts
        shares.append(len(own))
    assert made["rows"] > sum(shares)


def test_the_newest_histories_end_with_the_last_training_item(toy):
    texts = newest_histories(toy, load("toy", {"prompts.history": 4}))
    titles, rows = toy.dataset.items["title"].to_numpy(), toy.rows("direct")
    for user, own in rows.groupby("user_id"):
        train = list(titles[own[own["part"] == "train"]["i"].to_numpy()])
        (text,) = texts.loc[texts["ask_id"] == f"newest/{user}", "answer"]
        assert text.endswith(f'Answer: "{train[-1]}"') and [
            text.count(f'"{t}"') for t in train[-5:]
        ] == [1] * len(train[-5:])
        assert not any(
            f'"{t}"' in text for t in titles[own[own["part"] != "train"]["i"].to_numpy()]
        )
    assert (texts["prompt"] == "").all() and len(texts) == len(toy.users)
    (told,) = newest_histories(
        toy, load("toy", {"prompts.history": 4, "prompts.answers": "label"})
    )["answer"].tail(1)
    assert told.endswith(f'"{train[-1]}".') and "Answer" not in told, (
        "a title is no answer where labels are"
    )


def test_loss_is_on_the_answer_and_the_end_only(llm):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(llm[0])
    example = chat.instruction(tokenizer, "A question. Answer:", ' "' + llm[1][0] + '"')
    ids, mask, labels = chat.collate([example, chat.Example([1, 5, 2], 1)], padding=3)
    learned = ids[0][labels[0] != chat.IGNORED]
    assert tokenizer.decode(learned) == f' "{llm[1][0]}"</s>'
    assert labels[1].tolist()[:3] == [chat.IGNORED, 5, 2] and mask[1].sum() == 3
    assert (
        chat.learned_tokens([example]) == 2
        and chat.learned_tokens([chat.Example([1, 5, 2], 1)]) == 2
    )


def test_documents_are_cut_without_losing_a_token(llm):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(llm[0])
    pieces = chat.document(tokenizer, "one two three " * 40, 50)
    whole = chat.document(tokenizer, "one two three " * 40, 10_000)[0]
    assert sum(chat.learned_tokens([p]) for p in pieces) == chat.learned_tokens([whole])
    assert max(len(p.ids) for p in pieces) <= 50


def test_an_epoch_holds_every_example_once():
    examples = [chat.Example([1] * n, 1) for n in range(2, 50)]
    got = [
        len(e.ids) for batch in chat.batches(examples, 8, np.random.default_rng(0)) for e in batch
    ]
    assert sorted(got) == list(range(2, 50))


def test_answer_loss_equals_the_cross_entropy_of_the_labels(llm):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(llm[0]).eval()
    ids, mask, labels = chat.collate(
        [chat.Example([1, 9, 8, 7, 2], 3), chat.Example([1, 6, 2], 1)], 3
    )
    got = sft.AnswerLoss(model, 0.0).eval()(ids, mask, labels)
    logits = torch.log_softmax(model(input_ids=ids, attention_mask=mask).logits, -1)
    expected = -(logits[0, 2, 7] + logits[0, 3, 2] + logits[1, 0, 6] + logits[1, 1, 2])
    assert got.item() == pytest.approx(expected.item(), rel=1e-5)


def test_cosine_schedule():
    # 100 steps, 10 of warm-up, peak 1: half-way through the rest it is 0.5
    assert sft.cosine(0, 100, 10, 1.0) == pytest.approx(0.1)
    assert sft.cosine(9, 100, 10, 1.0) == pytest.approx(1.0)
    assert sft.cosine(55, 100, 10, 1.0) == pytest.approx(0.5)
    assert sft.cosine(100, 100, 10, 1.0) == pytest.approx(0.0)
    assert sft.cosine(1, 20, 50, 1.0) == pytest.approx(1.0), (
        "a warm-up of 50 of 20 steps is cut to 2"
    )


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
    (found,) = entry_points(group="vllm.general_plugins", name="raypipe_orphans")
    assert found.load() is orphans.watch


class FakeEngine:
    """Stands for vLLM's engine: two requests a step, oldest first; what it writes is the number of the request."""

    def __init__(self):
        self.open, self.asked, self.steps = [], {}, 0

    @classmethod
    def from_engine_args(cls, args):
        return cls()

    def add_request(self, request_id, prompt, parameters):
        self.open.append(request_id)
        self.asked[request_id] = prompt["prompt_token_ids"], parameters

    def step(self):
        self.steps += 1
        now, self.open = self.open[:2], self.open[2:]
        return [SimpleNamespace(request_id=r, finished=True, outputs=[self.answer(r)]) for r in now]

    def answer(self, request):
        wanted = getattr(self.asked[request][1], "logprob_token_ids", [])
        table = {t: SimpleNamespace(logprob=-float(t)) for t in wanted}
        return SimpleNamespace(
            text="" if wanted else f"answer {request}", logprobs=[table], token_ids=[0]
        )


@pytest.fixture
def replica(llm, monkeypatch):
    fake = SimpleNamespace(
        EngineArgs=SimpleNamespace, LLMEngine=FakeEngine, SamplingParams=SimpleNamespace
    )
    monkeypatch.setitem(sys.modules, "vllm", fake)
    monkeypatch.setitem(
        sys.modules,
        "vllm.sampling_params",
        SimpleNamespace(StructuredOutputsParams=SimpleNamespace),
    )
    return vllm.Replica(llm[0], {"max_model_len": 64})


def tokenized(llm, rows):
    table = pa.Table.from_pylist(
        [
            dict(zip(("prompt_id", "prompt", "mode", "options"), r, strict=True))
            | {"pattern": "[a-f]{3}" if r[2] == "form" else ""}
            for r in rows
        ]
    )
    return vllm.tokenize(table, llm[0])


def test_batches_of_an_engine_go_on_together_and_get_their_own_answers(llm, replica):
    options = [' "Alien (1979)"', ' "Heat (1995)"', ' "Alien (1979)"']
    batches = [
        tokenized(
            llm, [(f"{name}{i}", f"Question {name}{i} Answer:", "score", options) for i in range(5)]
        )
        for name in "ab"
    ]

    async def both():
        return await asyncio.gather(*map(replica, batches))

    for name, got in zip("ab", asyncio.run(both()), strict=True):
        rows = got.to_pylist()
        assert [r["prompt_id"] for r in rows] == [f"{name}{i}" for i in range(5)]
        for row, asked in zip(
            rows,
            tokenized(llm, [("", "Question x0 Answer:", "score", options)] * 5).to_pylist(),
            strict=True,
        ):
            assert (
                row["logprobs"] == [-float(t) for t in asked["option_tokens"]]
                and row["answer"] == ""
            )
            assert row["tokens_out"] == 1 and row["finished_at"] <= time.time()
    assert replica.engine.steps == 5, "ten requests of both batches, two a step"
    assert not replica.finished, "answers that were handed out are not kept"


def test_an_engine_is_asked_in_each_mode_and_never_what_does_not_fit(llm, replica):
    long = "word " * 100
    rows = [
        ("s", "Which? Answer:", "score", [" A", " B"]),
        ("c", "Which? Answer:", "choose", ["A", "B"]),
        ("f", "Write. Answer:", "form", []),
        ("l", long, "score", [" A"]),
    ]
    batch = tokenized(llm, rows)
    got = {r["prompt_id"]: r for r in asyncio.run(replica(batch)).to_pylist()}
    parameters = [p for _, p in replica.engine.asked.values()]
    assert [tokens for tokens, _ in replica.engine.asked.values()] == batch["tokens"].to_pylist()[
        :3
    ]
    assert len(parameters) == 3 and all(p.temperature == 0 for p in parameters)
    assert parameters[0].max_tokens == 1 and parameters[0].logprob_token_ids == sorted(
        {*batch["option_tokens"].to_pylist()[0]}
    )
    assert (
        parameters[1].structured_outputs.choice == ["A", "B"]
        and parameters[2].structured_outputs.regex == "[a-f]{3}"
    )
    assert parameters[2].max_tokens == 64 - len(batch["tokens"].to_pylist()[2]), (
        "no more than the context holds"
    )
    assert got["c"]["answer"] == "answer 1" and got["f"]["answer"] == "answer 2"
    assert got["l"]["answer"] == "" and got["l"]["logprobs"] == [] and got["l"]["tokens_out"] == 0


def test_engines_that_do_not_fit_are_refused(monkeypatch):
    nodes = [{"Alive": True, "Resources": {"GPU": 8.0}}] * 2 + [
        {"Alive": False, "Resources": {"GPU": 8.0}}
    ]
    monkeypatch.setattr(completions.session.ray, "nodes", lambda: nodes)
    monkeypatch.setattr(completions.session, "gpus", lambda: 16)
    completions.check_capacity(EngineConfig(concurrency=16))
    completions.check_capacity(EngineConfig(concurrency=4, tensor_parallel=3))
    with pytest.raises(ConfigError, match=r"5 engine.* of 3 .* room for 4\n(.*\n)*.*at most 4"):
        completions.check_capacity(EngineConfig(concurrency=5, tensor_parallel=3))
    with pytest.raises(ConfigError, match=r"room for 0\n(.*\n)*.*no node has that many devices"):
        completions.check_capacity(EngineConfig(tensor_parallel=16))


def at_endpoint(url, model, prompts=("which?",), **given):
    asker = endpoint_engine._Asker(
        EndpointConfig(url=url, model=model, requests_per_minute=60_000, **given),
        SecretStr("key-7"),
    )
    return asker(pd.DataFrame([{"prompt_id": str(n), "prompt": p} for n, p in enumerate(prompts)]))


def test_the_small_llm_writes_an_order_of_candidates(llm):
    titles = llm[1][:12]
    asked = listwise_constrained.render(
        Words("film", "watched"), Person(llm[1][12:15]), titles, titles, "title"
    )
    answer = Scorer(llm[0]).generate(asked.text, asked.pattern)
    assert (
        re.fullmatch(asked.pattern, answer)
        and len(listwise_constrained.named(answer, asked.options)) == listwise_constrained.PLACES
    )
    got = dict(listwise_constrained.parse(Completion(answer, ()), asked.options, asked.payload))
    assert set(got) == set(titles) and max(got.values()) == -1.0 and len(set(got.values())) > 1


def test_an_endpoint_answers_in_order_with_its_key_and_costs(endpoint):
    endpoint.answers["m"] = "B, A"
    got = at_endpoint(endpoint.url, "m", ["one", "two", "three"])
    assert got["prompt_id"].tolist() == ["0", "1", "2"] and set(got["answer"]) == {"B, A"}
    assert got["tokens_in"].tolist() == [10] * 3 and got["tokens_out"].tolist() == [3] * 3
    key, body = endpoint.requests[0]
    assert key == "Bearer key-7" and body["temperature"] == 0 and len(endpoint.requests) == 3
    asker = endpoint_engine._Asker(EndpointConfig(url=endpoint.url, model="m"), SecretStr("key-7"))
    assert "key-7" not in repr(vars(asker))


def test_a_request_is_repeated_where_its_failure_passes_and_is_empty_where_it_stays(endpoint):
    endpoint.answers["busy"] = [429, 503, "A, B"]
    assert at_endpoint(endpoint.url, "busy")["answer"].tolist() == ["A, B"]
    endpoint.answers["broken"] = 500
    before = len(endpoint.requests)
    assert at_endpoint(endpoint.url, "broken", retries=2)["answer"].tolist() == [""]
    assert len(endpoint.requests) - before == 3


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_key_or_model_ends_the_run_and_says_so(endpoint, status):
    endpoint.answers["m"] = status
    with pytest.raises(ConfigError, match=f"status {status}") as error:
        at_endpoint(endpoint.url, "m")
    assert "OPENAI_API_KEY" in str(error.value) and "key-7" not in str(error.value)


def test_requests_keep_the_pace(endpoint):
    endpoint.answers["m"] = "A"
    began = time.monotonic()
    asker = endpoint_engine._Asker(
        EndpointConfig(url=endpoint.url, model="m", requests_per_minute=1200), SecretStr("k")
    )
    asker(pd.DataFrame([{"prompt_id": str(n), "prompt": "p"} for n in range(5)]))
    assert time.monotonic() - began >= 4 * 60 / 1200


def test_an_address_with_a_password_is_refused():
    with pytest.raises(ConfigError, match="without a password"):
        load("toy", {"rival": {"url": "https://me:secret@host/v1", "model": "m"}})


def test_a_training_of_which_most_examples_are_too_long_is_refused():
    refuse_long([5, 5, 90], 64, "llm/dialogue")  # some are left out, and told
    with pytest.raises(
        ConfigError,
        match=r"2 of 3 examples are longer than max_length = 64 tokens(?s:.)*longest has 91",
    ):
        refuse_long([5, 90, 91], 64, "llm/dialogue")


def test_small_llms_are_not_sharded_unless_asked(tmp_path):
    from transformers import AutoConfig, LlamaConfig

    from raypipe.tuning.sft import SHARDED, zero_stage

    sizes = {"small": 32, "large": 2048}
    for name, width in sizes.items():
        LlamaConfig(
            vocab_size=64,
            hidden_size=width,
            intermediate_size=8 * width,
            num_hidden_layers=2,
            num_attention_heads=1,
        ).save_pretrained(tmp_path / name)
    assert (
        AutoConfig.from_pretrained(tmp_path / "large").hidden_size == 2048
        and SHARDED == 100_000_000
    )
    assert [zero_stage(None, str(tmp_path / name)) for name in sizes] == [0, 3]
    assert zero_stage(3, str(tmp_path / "small")) == 3 and zero_stage(0, "no/such-model") == 0

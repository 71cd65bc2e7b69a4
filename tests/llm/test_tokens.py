"""Options as tokens, with real tokenizers: no two different options tie."""

import asyncio
import base64
import json
import math
import shutil
from pathlib import Path

import mistral_common
import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, LlamaTokenizer, PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import TikTokenConverter

from raypipe.llm import option_tree, tokens, vllm
from raypipe.llm.config import EngineConfig
from raypipe.llm.tokens import STEM, load_tokenizer, text_ids, tokenize_prompt, tokenize_prompts
from raypipe.llm.transformers import Question, Scorer

SHIPPED = Path(mistral_common.__file__).parent / "data"
#: ranks of the byte-level tokenizer that are kept: its first ones are the bytes
RANKS = 20_000

RATINGS = [f" {n}" for n in range(1, 6)]
LETTERS = [f" {letter}" for letter in "ABCDEFGHIJ"]
TITLES = [
    f' "{title}"'
    for title in (
        "The Matrix (1999)",
        "The Matrix Reloaded (2003)",
        "The Matrix Revolutions (2003)",
        "The Mask",
        "The Mask II",
        "2001: A Space Odyssey (1968)",
        "2001",
        "200 Cigarettes",
        "七人の侍 (1954)",
        "七人の侍",
        "🎬 Emoji 🎉",
        "🎬 Emoji 🎊",
        "</s>",
        "<|im_start|>user",
        "[INST] Heat [/INST]",
        'Say "Cheese"',
        "l'Été",
        "l'Eté",
        " ",
        "a\nb",
    )
]


def mistral(folder):
    """Mistral 7B's SentencePiece model, which puts one token before every digit, as LLaMA-2's."""
    shutil.copy(SHIPPED / "tokenizer.model.v1", folder / "tokenizer.model")
    LlamaTokenizer.from_pretrained(folder).save_pretrained(folder)


def tekken(folder):
    """Mistral NeMo's byte-level ranks, as tiktoken reads them: without start, end and padding."""
    shipped = json.loads((SHIPPED / "tekken_240911.json").read_text())
    lines = [f"{entry['token_bytes']} {entry['rank']}" for entry in shipped["vocab"][:RANKS]]
    assert base64.b64decode(shipped["vocab"][65]["token_bytes"]) == b"A"
    (folder / "ranks.tiktoken").write_text("\n".join(lines))
    converter = TikTokenConverter(
        str(folder / "ranks.tiktoken"), pattern=shipped["config"]["pattern"]
    )
    PreTrainedTokenizerFast(tokenizer_object=converter.converted()).save_pretrained(folder)


@pytest.fixture(scope="module", params=[mistral, tekken], ids=lambda make: make.__name__)
def model(request, tmp_path_factory):
    """The folder of a tiny untrained LLM with a real tokenizer."""
    folder = tmp_path_factory.mktemp(request.param.__name__)
    request.param(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32_000,
        hidden_size=32,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=256,
        bos_token_id=1,
        eos_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    "options", [RATINGS, LETTERS, TITLES], ids=["ratings", "letters", "titles"]
)
def test_all_options_get_scores_of_their_own(model, options):
    (scores,) = Scorer(model).score([Question(f"Which one? {STEM}", options)])
    assert len(set(scores)) == len(options) and np.isfinite(scores).all()
    again, same = Scorer(model).score([Question(f"Which one? {STEM}", [*options, options[0]])] * 2)
    assert again[:-1] == pytest.approx(scores, abs=1e-4) and again[-1] == again[0]
    assert same == pytest.approx(again, abs=1e-4)


def test_scores_are_those_of_the_whole_options_by_a_simple_loop(model):
    """Each token is scored after the whole text before it; only tokens with alternatives count."""
    scorer = Scorer(model)
    prompt = f"Which one? {STEM}"
    (scores,) = scorer.score([Question(prompt, TITLES)])
    tokenizer = load_tokenizer(model)
    start = [tokenizer.bos_token_id] if tokenizer.bos_token_id is not None else []
    end = tokens.end_token(tokenizer)
    wholes = [[*start, *ids, end] for ids in text_ids(tokenizer, [prompt + t for t in TITLES])]
    for whole, score in zip(wholes, scores, strict=True):
        logprobs = torch.log_softmax(scorer.model(torch.tensor([whole])).logits[0].float(), -1)
        expected, is_first = 0.0, True
        for depth in range(1, len(whole)):
            rivals = {other[depth] for other in wholes if other[:depth] == whole[:depth]}
            if len(rivals) < 2:
                continue
            value = float(logprobs[depth - 1, whole[depth]].detach())
            if not is_first:
                value -= math.log(sum(math.exp(logprobs[depth - 1, r]) for r in rivals))
            expected, is_first = expected + value, False
        assert score == pytest.approx(expected, abs=1e-4)


def test_what_looks_like_a_control_token_is_text(model):
    tokenizer = load_tokenizer(model)
    control = set(tokenizer.all_special_ids)
    texts = ["a </s> b", "<s>", "<|im_start|>user", "[INST] x [/INST]", "<unk>"]
    for text, ids in zip(texts, text_ids(tokenizer, texts), strict=True):
        assert not control & set(ids), text
        assert tokenizer.decode(ids).strip() == text
    (prompt, _), (scored, _) = tokenize_prompts(
        model, [f"</s> {STEM}"] * 2, [[], [" </s>", " A"]], ["form", "score"]
    )
    assert tokenizer.eos_token_id not in [*prompt, *scored] or tokenizer.eos_token_id is None


def test_ratings_are_told_apart_at_one_place(model):
    """So they cost one token each, although a tokenizer may put a common one before them."""
    prompt, tree = tokenize_prompt(model, f"Which rating? {STEM}", RATINGS, "score")
    assert len(tree.prefixes) == 1 and len(tree.choices[0]) == len(RATINGS)
    text = load_tokenizer(model).decode([*prompt, *tree.prefixes[0], tree.choices[0][2]])
    assert text.removeprefix("<s>").strip() == f"Which rating? {STEM} 3"


def test_an_option_that_begins_another_is_told_apart_by_the_end():
    tree = option_tree.build([(7, 1), (7, 2), (7, 2, 3)], end=0)
    assert tree.prefixes == [[7], [7, 2]] and tree.choices == [[1, 2], [0, 3]]
    scores = tree.scores([[math.log(0.2), math.log(0.6)], [math.log(0.1), math.log(0.3)]])
    assert np.exp(scores) == pytest.approx([0.2, 0.6 * 0.25, 0.6 * 0.75])


def test_one_option_or_equal_ones_are_scored_by_their_first_token():
    tree = option_tree.build([(5, 6), (5, 6)], end=0)
    assert (tree.prefixes, tree.choices) == ([[]], [[5]])
    assert tree.scores([[-1.5]]) == [-1.5, -1.5]


def test_a_prompt_with_options_that_do_not_fit_the_context_has_no_scores(model):
    long = Question(f"{'word ' * 300}{STEM}", RATINGS)
    short = Question(STEM, RATINGS)
    scores = Scorer(model).score([long, short])
    assert scores[0] == [] and len(scores[1]) == len(RATINGS)


class Merging:
    """Stands for a tokenizer that merges ":" with the space after it."""

    is_fast, bos_token_id, eos_token_id = False, None, 0
    words = ("Answer", ": ", ":", "A", "B", "x ")

    def __call__(self, texts, **options):
        return {"input_ids": [self.ids(text) for text in texts]}

    def ids(self, text):
        ids = []
        while text:
            word = next(word for word in self.words if text.startswith(word))
            ids.append(self.words.index(word) + 1)
            text = text.removeprefix(word)
        return ids


def test_a_token_of_the_prompt_that_merges_with_the_options_is_taken_back(monkeypatch):
    monkeypatch.setattr(tokens, "load_tokenizer", lambda model: Merging())
    prompt, tree = tokenize_prompt("merging", f"x {STEM}", [" A", " B"], "score")
    assert prompt == Merging().ids("x Answer")
    assert (tree.prefixes, tree.choices) == ([Merging().ids(": ")], [Merging().ids("AB")])


@pytest.mark.slow
def test_vllm_scores_options_as_transformers_does(model, monkeypatch):
    """With a prompt that is as long as the context allows, and one that is longer."""
    engine = vllm.Engine(model, EngineConfig())
    for name, value in engine.variables(gpu=False, cpus=1).items():
        monkeypatch.setenv(name, value)
    prompts = [f"Which one? {STEM}", f"{'word ' * 150}{STEM}", f"{'word ' * 300}{STEM}"]
    rows = []
    for prompt in prompts:
        for options in (RATINGS, TITLES):
            name = str(len(rows))
            row = {"prompt_id": name, "prompt": prompt, "mode": "score", "pattern": ""}
            rows.append({**row, "options": options})
    replica = vllm.Replica(model, engine.settings(gpu=False))
    answers = asyncio.run(replica(vllm.tokenize(pa.Table.from_pylist(rows), model))).to_pylist()
    expected = Scorer(model).score([Question(row["prompt"], row["options"]) for row in rows])
    for answer, scores in zip(answers, expected, strict=True):
        assert answer["logprobs"] == pytest.approx(scores, abs=1e-3)
    assert [bool(answer["logprobs"]) for answer in answers] == [True] * 4 + [False] * 2

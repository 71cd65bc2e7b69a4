"""The transformers engine, and tokens of options."""

import re

import numpy as np
import pandas as pd
import pytest
import torch

from raypipe.llm.tokens import tokenize_prompt
from raypipe.llm.transformers import Completer, Question, Scorer
from raypipe.prompts.contract import Completion, Person, Words
from raypipe.prompts.templates import listwise_constrained


def test_titles_and_ratings_are_one_token_each(llm):
    folder, titles = llm
    options = [f' "{title}"' for title in titles]
    prompt, tree = tokenize_prompt(folder, "Answer:", options, "score")
    assert prompt[0] == 1 and tree.prefixes == [[]] and len(set(tree.choices[0])) == len(titles)
    ratings = tokenize_prompt(folder, "Answer:", [f" {n}" for n in range(1, 6)], "score").options
    assert ratings.prefixes == [[]] and len(set(ratings.choices[0])) == 5
    assert tokenize_prompt(folder, "Answer:", [" x"], "choose").options is None


def test_scores_do_not_depend_on_the_batch(llm):
    folder, titles = llm
    scorer = Scorer(folder)
    questions = [
        Question(f'"{t}"' * (n + 1) + " Answer:", [f' "{x}"' for x in titles[:3]])
        for n, t in enumerate(titles[:6])
    ]
    together, alone = scorer.score(questions), [scorer.score([q])[0] for q in questions]
    assert np.allclose(together, alone, atol=1e-4)
    logits = scorer.model(
        torch.tensor([tokenize_prompt(folder, questions[0].prompt, [], "choose").prompt])
    ).logits[0, -1]
    expected = torch.log_softmax(logits, -1)[
        tokenize_prompt(folder, "", list(questions[0].options), "score").options.choices[0]
    ]
    assert together[0] == pytest.approx(expected.tolist(), abs=1e-4)


def test_prompts_beyond_the_context_get_no_answer(llm):
    scorer = Scorer(llm[0])
    long = "word " * 3000 + "Answer:"
    assert scorer.score([Question(long, [" a", " b"]), Question("Answer:", [" a", " b"])])[0] == []
    assert scorer.choose(Question(long, [" a"], "choose")) == ""
    assert scorer.choose(Question("Answer:", [" a", " b c"], "choose")) in (" a", " b c")


def test_the_small_llm_generates_a_ranking_under_the_grammar(llm):
    titles = llm[1][:12]
    prompt = listwise_constrained.render(
        Words("film", "watched"), Person(llm[1][12:15]), titles, titles, "title"
    )
    answer = Scorer(llm[0]).generate(prompt.text, prompt.pattern)
    assert (
        re.fullmatch(prompt.pattern, answer)
        and len(listwise_constrained.named(answer, prompt.options)) == listwise_constrained.PLACES
    )
    scores = dict(
        listwise_constrained.parse(Completion(answer, ()), prompt.options, prompt.payload)
    )
    assert (
        set(scores) == set(titles)
        and max(scores.values()) == -1.0
        and len(set(scores.values())) > 1
    )


def test_a_batch_of_all_modes_is_answered_by_id(llm):
    folder, titles = llm
    options = [f' "{title}"' for title in titles[:3]]
    rows = [
        ("c", "Which film? Answer:", "choose", "", options),
        ("s", "Which film? Answer:", "score", "", options),
        ("f", "Write three letters. Answer:", "form", " [a-f]{3}", []),
        ("l", "word " * 3000, "score", "", options),
    ]
    columns = ["prompt_id", "prompt", "mode", "pattern", "options"]
    answered = Completer(folder)(pd.DataFrame(rows, columns=columns)).set_index("prompt_id")
    assert set(answered.index) == {"c", "s", "f", "l"}
    scorer, question = Scorer(folder), Question("Which film? Answer:", options)
    assert answered.loc["s", "logprobs"] == pytest.approx(scorer.score([question])[0], abs=1e-4)
    assert answered.loc["c", "answer"] == scorer.choose(question) in options
    assert re.fullmatch(" [a-f]{3}", answered.loc["f", "answer"])
    assert answered.loc["l", "logprobs"] == [] and answered.loc["l", "answer"] == ""
    assert answered["tokens_out"].to_dict() == {
        "s": 1,
        "c": len(answered.loc["c", "answer"].split()),
        "f": 1,
        "l": 0,
    }
    assert answered.loc["l", "tokens_in"] > 3000

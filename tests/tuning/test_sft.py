"""Examples, batches, loss and schedule of supervised tuning."""

import numpy as np
import pytest
import torch

from raypipe.tuning import chat, sft


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


def test_documents_are_split_without_losing_a_token(llm):
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
        "a warm-up of 50 steps is shortened to 2 of 20"
    )


def test_small_llms_are_not_sharded_by_default(tmp_path):
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

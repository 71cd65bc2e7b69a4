"""The embedded LLM: a small LLaMA and its tokenizer, built from the run's own texts.

Both are saved in the Hugging Face format. The tokenizer is a byte-level BPE in which each of the
most popular titles, with its quotes, is one token; other text is split into pieces. A prompt with
40 titles then takes some 120 tokens instead of 400, and one step of the model ranks whole titles.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from raypipe.llm.config import EmbeddedConfig
from raypipe.seeding import derive

SPECIAL = ["<unk>", "<s>", "</s>", "<pad>"]
#: a quoted title, a word, a digit, other marks, or white space; each with the space before it
WORDS = Regex(r' ?"[^"\n]*"| ?[^\W\d]+| ?\d| ?[^\w\s"]+|\s+|"')
CONTEXT = 1024


def build_tokenizer(
    corpus: Iterable[str], titles: Sequence[str], config: EmbeddedConfig
) -> PreTrainedTokenizerFast:
    """Train the tokenizer.

    Args:
        corpus: texts of the run.
        titles: most popular first; the first `config.titles` become a token each.
    """
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer = Tokenizer(models.BPE(ignore_merges=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(WORDS, "isolated"), to_bytes]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.pieces,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    state = json.loads(tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    for title in titles[: config.titles]:
        word = to_bytes.pre_tokenize_str(f' "{title}"')[0][0]
        vocabulary.setdefault(word, len(vocabulary))
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)),
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        model_max_length=CONTEXT,
    )


def build_model(vocabulary: int, config: EmbeddedConfig, seed: int) -> LlamaForCausalLM:
    """An untrained LLaMA of the configured size, with tied embeddings."""
    torch.manual_seed(derive(seed, "embedded"))
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.heads,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=3,
        )
    )


def build(
    corpus: Sequence[str], titles: Sequence[str], config: EmbeddedConfig, seed: int, folder: Path
) -> dict[str, int]:
    """Write tokenizer and untrained model to `folder`; returns their sizes."""
    tokenizer = build_tokenizer(corpus, titles, config)
    model = build_model(len(tokenizer), config, seed)
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return {"vocabulary": len(tokenizer), "parameters": sum(p.numel() for p in model.parameters())}

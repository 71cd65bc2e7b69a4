"""What the stages of a run read and write."""

from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pyarrow.parquet as pq

from raypipe.backbones.interaction_matrices import Augmentation
from raypipe.papers.llama4rec import (
    augmentation,
    stages,
    variants,
)
from raypipe.papers.llama4rec.config import load
from raypipe.pipeline.stage import Context
from raypipe.pipeline.store import Store
from raypipe.schema import COMPLETIONS, PROMPTS


def test_waves_of_variants():
    assert list(variants.waves(("base", "llama4rec"))) == ["llama4rec"]
    assert variants.source("wo_aa") == "llama4rec" and variants.WAVES["wo_pa"].llm == "plain"
    run = load("toy", {"variants": ["wo_pa"], "seeds": 2})
    assert run.variants == ("base", "wo_pa", "llama4rec")
    names = [s.name for s in stages.plan(run)]
    assert {
        "llm/plain",
        "completions/augment_plain",
        "seed1/augmented_plain/sasrec",
        "prompts/wo_pa",
    } <= set(names)
    assert (
        not [n for n in names if "ift" in n or "wo_da" in n] and names.count("llm/augmented") == 1
    )
    warm = {
        s.name: s.inputs for s in stages.plan(load("toy", {"augment.warm_start": True, "seeds": 2}))
    }
    assert (
        warm["seed1/augmented/sasrec"]["start"] == "seed1/base/sasrec"
        and "start" not in warm["seed1/base/sasrec"]
    )


def test_in_each_round_the_models_of_the_last_one_guide_the_llm():
    made = {
        s.name: s.inputs
        for s in stages.plan(load("toy", {"augment.rounds": 3, "variants": ["wo_pa"]}))
    }
    assert made["prompts/augment_plain@3"]["model/0/sasrec"] == "seed0/augmented_plain@2/sasrec"
    assert "model/0/deepfm" not in made["prompts/augment@2"]  # ratings have no lists to draw from
    assert made["seed0/augmentation@2"]["before"] == "seed0/augmentation@1"
    assert made["seed0/augmentation"] == {
        "prompts": "prompts/augment@3",
        "completions": "completions/augment@3",
        "before": "seed0/augmentation@2",
    }
    assert made["seed0/augmented/sasrec"]["augmentation"] == "seed0/augmentation"
    once = {s.name: s.inputs for s in stages.plan(load("toy"))}
    assert "before" not in once["seed0/augmentation"] and not [n for n in once if "@" in n]


def test_additions_of_rounds_are_joined_and_read_by_backbone(tmp_path):
    def put(folder, asked):
        made = pd.DataFrame(
            asked, columns=["prompt_id", "template", "answer", "options", "payload"]
        )
        (folder / "prompts" / "prompts").mkdir(parents=True)
        pq.write_table(
            PROMPTS.from_frame(
                made.drop(columns="answer").assign(prompt="", mode="score", pattern=""), "test"
            ),
            folder / "prompts" / "prompts" / "part-0.parquet",
        )
        (folder / "completions").mkdir()
        got = made[["prompt_id", "answer"]].assign(
            logprobs=[[-1.0, -2.0]] * len(made), tokens_in=1, tokens_out=1, finished_at=1.0
        )
        pq.write_table(
            COMPLETIONS.from_frame(got, "test"), folder / "completions" / "completions.parquet"
        )

    def joined(name, **inputs):
        out = tmp_path / name / "out"
        out.mkdir()
        context = SimpleNamespace(
            name=name, out=out, inputs=inputs, input=lambda local: inputs[local]
        )
        return augmentation.augmentation(context, 0), out

    two = [" A", " B"], ["x", "y"]
    put(
        tmp_path / "1",
        [("0/all/pair/u/1/0", "pair", " A", *two), ("1/all/pair/u/1/0", "pair", " A", *two)],
    )
    put(
        tmp_path / "2",
        [
            ("0/mf/pair/u/1/0", "pair", " A", [" A", " B"], ["p", "q"]),
            ("0/sasrec/pick/u/1/0", "pick", " A", *two),
        ],
    )
    first, before = joined(
        "1", prompts=tmp_path / "1" / "prompts", completions=tmp_path / "1" / "completions"
    )
    _, out = joined(
        "2",
        prompts=tmp_path / "2" / "prompts",
        completions=tmp_path / "2" / "completions",
        before=before,
    )
    assert first["pairs"] == 1  # the other is of another seed
    shared, own = Augmentation.read(out, "light_gcn"), Augmentation.read(out, "mf")
    assert (
        list(shared.pairs["preferred"]) == ["x"]
        and list(shared.pairs["user_id"]) == ["u/1"]
        and not len(shared.insertions)
    )
    assert len(own.pairs) == 2 and list(Augmentation.read(out, "sasrec").insertions["item_id"]) == [
        "x"
    ]


def test_a_part_becomes_asks_that_are_kept_and_prompts_with_its_prefix(toy, tmp_path):
    from raypipe.papers.llama4rec import prompts

    store, key = Store(str(tmp_path)), "k" * 64
    targets = (
        toy.target_rows("direct", "test").assign(split="test"),
        toy.target_rows("direct", "validation").assign(split="validation"),
    )
    lists = pd.concat(targets)[["user_id", "split"]].assign(
        items=lambda f: [list(toy.items[:12])] * len(f)
    )
    for name, save in (
        ("data", toy.dataset.save),
        ("split", toy.split.save),
        ("model", lambda at: lists.to_parquet(at / "lists.parquet")),
    ):
        with store.writing(name, key, {}) as out:
            save(out)
    read = {"data": ("data", key), "split": ("split", key), "model/0/mf": ("model", key)}
    ctx = Context(store, "prompts/ift", key, tmp_path / "out", "", read)
    given = {
        "tasks": ["direct"],
        "backbones": {"direct": ["mf"]},
        "rerank": {"k_prime": 12, "chunk": 5, "pointwise_users": 20},
    }
    config = load("toy", given)
    (part,) = prompts.of_backbones(config)
    assert part == (0, "direct", "mf")
    made = pd.concat(
        prompts.in_words(ctx, config, part, prompts.rerank_asks(ctx, config, False, part))
    )
    kept = prompts.read_asks(ctx.out, part)
    assert (
        made["prompt_id"].tolist() == [f"0/mf/{name}" for name in kept["ask_id"]]
        and made["prompt_id"].is_unique
    )
    listwise = kept[kept["template"] == "listwise"]
    assert len(listwise) == 3 * len(lists), "twelve candidates in chunks of five"
    single = kept[kept["template"] == "pointwise"]
    assert single["user_id"].nunique() == 20 and set(single["split"]) == {"validation"}
    assert len(single) == 20 * min(12, config.rerank.pointwise_k)

    config = load("toy", {**given, "rerank": {"k_prime": 12, "written": True}})
    made = pd.concat(
        prompts.in_words(
            replace(ctx, out=tmp_path / "other"),
            config,
            part,
            prompts.rerank_asks(ctx, config, False, part),
        )
    )
    order = made[made["template"] == "written"]
    assert (
        len(order) == len(lists)
        and set(order["mode"]) == {"form"}
        and set(order["options"].map(len)) == {12}
    )
    assert order["prompt_id"].str.startswith("0/mf/listwise/direct/").all()

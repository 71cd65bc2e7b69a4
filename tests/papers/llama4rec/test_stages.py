"""What the stages of a run read and write."""

from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pyarrow.parquet as pq

from raypipe.backbones.interaction_matrices import Augmentation
from raypipe.papers.llama4rec import (
    augmentation,
    prompt_requests,
    prompts,
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


def test_each_round_uses_the_models_of_the_round_before():
    inputs = {
        s.name: s.inputs
        for s in stages.plan(load("toy", {"augment.rounds": 3, "variants": ["wo_pa"]}))
    }
    assert inputs["prompts/augment_plain@3"]["model/0/sasrec"] == "seed0/augmented_plain@2/sasrec"
    assert "model/0/deepfm" not in inputs["prompts/augment@2"]  # ratings have no lists to draw from
    assert inputs["seed0/augmentation@2"]["before"] == "seed0/augmentation@1"
    assert inputs["seed0/augmentation"] == {
        "prompts": "prompts/augment@3",
        "completions": "completions/augment@3",
        "before": "seed0/augmentation@2",
    }
    assert inputs["seed0/augmented/sasrec"]["augmentation"] == "seed0/augmentation"
    once = {s.name: s.inputs for s in stages.plan(load("toy"))}
    assert "before" not in once["seed0/augmentation"] and not [n for n in once if "@" in n]


def test_additions_of_rounds_are_joined_and_read_by_backbone(tmp_path):
    def write(folder, rows):
        columns = ["seed", "backbone", "template", "answer", "options", "payload"]
        frame = pd.DataFrame(rows, columns=columns)
        frame["prompt_id"] = [str(number) for number in range(len(frame))]
        prompts = frame.drop(columns="answer").assign(
            prompt="", mode="score", pattern="", user_id="u/1", item_id="", attribute=""
        )
        (folder / "prompts" / "prompts").mkdir(parents=True)
        pq.write_table(
            PROMPTS.from_frame(prompts, "test"), folder / "prompts" / "prompts" / "part-0.parquet"
        )
        (folder / "completions").mkdir()
        completions = frame[["prompt_id", "answer"]].assign(
            logprobs=[[-1.0, -2.0]] * len(frame), tokens_in=1, tokens_out=1, finished_at=1.0
        )
        pq.write_table(
            COMPLETIONS.from_frame(completions, "test"),
            folder / "completions" / "completions.parquet",
        )

    def joined(name, **inputs):
        out = tmp_path / name / "out"
        out.mkdir()
        inputs |= {part: tmp_path / name / part for part in ("prompts", "completions")}
        context = SimpleNamespace(
            name=name, out=out, inputs=inputs, input=lambda local: inputs[local]
        )
        return augmentation.augmentation(context, 0), out

    candidates = [" A", " B"], ["x", "y"]
    write(
        tmp_path / "1",
        [(0, "all", "pair", " A", *candidates), (1, "all", "pair", " A", *candidates)],
    )
    other = [" A", " B"], ["p", "q"]
    write(
        tmp_path / "2", [(0, "mf", "pair", " A", *other), (0, "sasrec", "pick", " A", *candidates)]
    )
    first, before = joined("1")
    _, out = joined("2", before=before)
    assert first["pairs"] == 1  # the other is of another seed
    shared, of_mf = Augmentation.read(out, "light_gcn"), Augmentation.read(out, "mf")
    assert list(shared.pairs["preferred"]) == ["x"] and list(shared.pairs["user_id"]) == ["u/1"]
    assert not len(shared.insertions) and len(of_mf.pairs) == 2
    assert list(Augmentation.read(out, "sasrec").insertions["item_id"]) == ["x"]


def test_requests_are_stored_beside_the_prompts_of_a_backbone(toy, tmp_path):
    store, key = Store(str(tmp_path)), "k" * 64
    targets = []
    for split in ("test", "validation"):
        targets.append(toy.target_rows("direct", split).assign(split=split))
    lists = pd.concat(targets)[["user_id", "split"]]
    lists = lists.assign(items=[list(toy.items[:12])] * len(lists))
    for name, save in (
        ("data", toy.dataset.save),
        ("split", toy.split.save),
        ("model", lambda folder: lists.to_parquet(folder / "lists.parquet")),
    ):
        with store.writing(name, key, {}) as out:
            save(out)
    read = {"data": ("data", key), "split": ("split", key), "model/0/mf": ("model", key)}
    ctx = Context(store, "prompts/ift", key, tmp_path / "out", "", read)
    overrides = {
        "tasks": ["direct"],
        "backbones": {"direct": ["mf"]},
        "rerank": {"k_prime": 12, "chunk": 5, "pointwise_users": 20},
    }
    config = load("toy", overrides)
    (part,) = prompts.backbone_parts(config)
    assert part == (0, "direct", "mf")
    requests = prompts.rerank(ctx, config, False, part)
    rendered = pd.concat(prompts._rendered(ctx, config, part, requests))
    kept = prompts.read_requests(ctx.out, part)
    identity = list(prompt_requests.IDENTITY)
    assert rendered[identity].values.tolist() == kept[identity].values.tolist()
    assert rendered["prompt_id"].is_unique
    listwise = kept[kept["template"] == "listwise_logprobs"]
    assert len(listwise) == 3 * len(lists), "twelve candidates in chunks of five"
    single = kept[kept["template"] == "pointwise"]
    assert single["user_id"].nunique() == 20 and set(single["split"]) == {"validation"}
    assert len(single) == 20 * min(12, config.rerank.pointwise_k)

    config = load("toy", {**overrides, "rerank": {"k_prime": 12, "generate_ranking": True}})
    other = replace(ctx, out=tmp_path / "other")
    requests = prompts.rerank(ctx, config, False, part)
    rendered = pd.concat(prompts._rendered(other, config, part, requests))
    orders = rendered[rendered["template"] == "listwise_constrained"]
    assert len(orders) == len(lists) and set(orders["mode"]) == {"form"}
    assert set(orders["options"].map(len)) == {12} and orders["pattern"].all()

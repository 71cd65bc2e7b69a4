"""RecLM: the form of profiles, dialogues and their masks, preferences, who may know what, and the list of stages."""

import itertools
import json
import re
import shutil
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
from pydantic import SecretStr, ValidationError
from safetensors.numpy import save_file
from transformers import AutoTokenizer

from raypipe.backbones.contract import Ragged
from raypipe.data.dataset import read
from raypipe.data.snapshot import TEST, TRAIN, VALIDATION, Snapshots, make_snapshots
from raypipe.errors import ConfigError, DataError, DryRun, RaypipeError
from raypipe.llm import embedded
from raypipe.llm import endpoint as endpoint_engine
from raypipe.llm.config import EmbeddedConfig, EndpointConfig
from raypipe.llm.engine import completion
from raypipe.llm.scripted import script
from raypipe.papers.reclm import (
    backbones,
    dialogues,
    evaluation,
    profiles,
    refresh,
    reward_pairs,
    stages,
    teacher,
)
from raypipe.papers.reclm.config import ROWS, ReclmConfig, load
from raypipe.papers.reclm.histories import (
    histories,
    load_tables,
    nearest_with_other_history,
    similar_items,
    users_by_item,
)
from raypipe.papers.reclm.prompt_tables import IDENTITY
from raypipe.papers.reclm.rendering import ProfilePrompts
from raypipe.papers.reclm.report.publish import against, samples
from raypipe.pipeline.runner import Done
from raypipe.pipeline.stage import Context
from raypipe.pipeline.store import Store
from raypipe.prompts import profiles as form
from raypipe.prompts.contract import Completion, Rejected
from raypipe.prompts.profiles import ProfileForm
from raypipe.prompts.templates import dialogue, item_profile, user_profile
from raypipe.schema import COMPLETIONS, PROMPTS
from raypipe.steps import answer_cache, completions
from raypipe.tuning import policy
from raypipe.tuning.chat import IGNORED
from raypipe.tuning.dialogue import tokens

SMALL = {
    "data.options": {"users": 80, "items": 80, "mean_length": 12, "arriving": 0.3},
    "teacher.users": 40,
    "teacher.items": 30,
}


@pytest.fixture(scope="module")
def config():
    return load("toy", SMALL)


class Bench:
    """A store with the artifacts of the first stages, and contexts for stages that read them."""

    def __init__(self, folder, config):
        self.store, self.config, self.number = Store(str(folder)), config, 0
        self.dataset = read(config.data)
        self.snapshots = make_snapshots(self.dataset.interactions, config.data, config.seed)
        self.keys = {}
        with self.making("data") as out:
            self.dataset.save(out)
        with self.making("snapshots") as out:
            self.snapshots.save(out)

    @contextmanager
    def making(self, name):
        self.keys[name] = f"{len(self.keys):064d}"
        with self.store.writing(name, self.keys[name], {"facts": {}}) as out:
            yield out

    def context(self, **inputs):
        """A stage's context; inputs: local name -> name of an artifact."""
        self.number += 1
        out = self.store.root + f"/out{self.number}"
        import pathlib

        pathlib.Path(out).mkdir()
        read = {"data": "data", "snapshots": "snapshots", **inputs}
        return Context(
            self.store,
            "tested",
            "k",
            pathlib.Path(out),
            out + "-scratch",
            {k: (v, self.keys[v]) for k, v in read.items()},
        )


@pytest.fixture
def bench(tmp_path, config):
    made = Bench(tmp_path, config)
    for side in ("user", "item"):
        with made.making(f"teacher/{side}s") as out:
            inputs = {"users": "teacher/users"} if side == "item" else {}
            ctx = made.context(**inputs)
            teacher.teach(ctx, config, side)
            (out / teacher.FILE).write_bytes((ctx.out / teacher.FILE).read_bytes())
    source = load_tables(made.context())
    similar = np.stack([np.roll(np.arange(len(source.users)), -n) for n in (1, 2, 3)], 1)
    with made.making("neighbours") as out:
        np.save(out / "similar.npy", similar)
    return made


def answer(bench, name, ctx, words=script):
    """Put the prompts that a stage wrote to the scripted engine, as the artifacts prompts/NAME and completions/NAME."""
    asked = pd.concat([pd.read_parquet(f) for f in sorted((ctx.out / "prompts").glob("*.parquet"))])
    with bench.making(f"prompts/{name}") as out:
        (out / "prompts").mkdir()
        asked.to_parquet(out / "prompts" / "all.parquet", index=False)
    rows = pd.DataFrame([words(row) for row in asked.itertuples()])
    rows["logprobs"] = [np.empty(0, np.float32)] * len(rows)
    with bench.making(f"completions/{name}") as out:
        COMPLETIONS.from_frame(rows, name)
        rows.to_parquet(out / "completions.parquet", index=False)
    return asked


# the form


@pytest.mark.parametrize("phrases", [1, 3, 5])
def test_what_is_parsed_fits_the_grammar_and_is_parsed_to_itself(phrases):
    said = "user identity: Sports fan,  sports fan, Sports fan, a very long identity on; User interests: U.S. news, b, golf."
    got = ProfileForm(phrases, 20).parse(said)
    assert (
        re.fullmatch(ProfileForm(phrases, 20).pattern, f" {got.text}")
        and ProfileForm(phrases, 20).parse(got.text) == got
    )
    assert got.identities == ("Sports fan", "sports fan", "a very long identity")[:phrases]
    assert got.interests == ("U S news", "golf")[:phrases], "a phrase has two characters or more"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("", "no_answer"),
        (" . ", "malformed"),
        ("User identity: a fan.", "malformed"),
        ("User identity: ; User interests: .", "malformed"),
        (
            "User identity: ab; User interests: cd. User identity: ef; User interests: gh.",
            "several",
        ),
    ],
)
def test_what_is_no_profile_is_rejected_by_kind(said, kind):
    for template in (user_profile, item_profile):
        assert template.parse(Completion(said, ()), ProfileForm(3, 32)) == Rejected(kind)


def test_the_scripted_engine_writes_profiles_of_the_form(bench, config):
    book = ProfilePrompts.of(bench.dataset, config.profiles)
    asked = book.user([0, 1], [[2], [3]])
    row = type(
        "Row",
        (),
        {
            "prompt": asked.text,
            "options": asked.options,
            "pattern": asked.pattern,
            "mode": asked.mode,
            "prompt_id": "1",
        },
    )
    assert re.fullmatch(asked.pattern, script(row)["answer"])


def test_a_prompt_shows_the_newest_items_of_the_user_and_of_similar_ones(bench, config):
    book = ProfilePrompts.of(bench.dataset, config.profiles)
    asked = book.user(np.arange(9), [[10], [], [12], [13]])
    assert [line in asked.text for line in book.lines[:9]] == [False] * 4 + [True] * 5
    assert book.lines[12] in asked.text and book.lines[13] not in asked.text, (
        "three similar users are shown"
    )
    assert "user 3 watched nothing yet" in asked.text and asked.mode == "form"
    assert user_profile.SYSTEM not in book.user([0], ()).text, "distillation is about one user"


# dialogues


def test_half_of_the_dialogues_are_about_an_item_taken_and_no_answer_stands_in_its_question(
    bench, config
):
    source = load_tables(bench.context())
    similar = np.load(bench.store.local("neighbours", bench.keys["neighbours"]) / "similar.npy")
    made = dialogues.draw(source, similar, 40, 0)
    known = histories(source, VALIDATION)
    assert sum(d.interacted for d in made) == 20 == sum(not d.interacted for d in made)
    for one in made:
        near = np.concatenate([known.row(v) for v in one.similar])
        assert one.item in near and one.item not in one.history and len(one.history), (
            "turn 1 neither tells nor is empty (RO20)"
        )
        assert one.interacted == (one.item in known.row(one.user)), (
            "a negative is none in all of the training history (R15)"
        )
    again, other = dialogues.draw(source, similar, 40, 0), dialogues.draw(source, similar, 40, 1)
    assert [d.item for d in made] == [d.item for d in again] != [d.item for d in other]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llm")
    corpus = [
        "Users are judged. User 1: User identity: fan; User interests: golf. Will user 1 take it? Answer: Yes No"
    ] * 3
    embedded.build(
        corpus, [], EmbeddedConfig(hidden_size=32, layers=1, heads=1, pieces=300), 0, folder
    )
    return AutoTokenizer.from_pretrained(folder)


TURNS = [("Users: user 1. Profiles:", " User 1: fan"), (" Will user 1 take it? Answer:", " Yes")]


def learnt(tokenizer, loss):
    made = tokens(tokenizer, TURNS, loss)
    assert len(made.ids) == len(made.labels) and all(
        lab in (IGNORED, i) for i, lab in zip(made.ids, made.labels, strict=True)
    )
    return tokenizer.decode([i for i in made.labels if i != IGNORED]), tokenizer.decode(made.ids)


def test_loss_is_on_both_responses_and_on_no_token_of_a_query(tokenizer):
    assert learnt(tokenizer, "responses") == (
        " User 1: fan Yes</s>",
        "<s>" + "".join(q + r for q, r in TURNS) + "</s>",
    )


def test_the_three_readings_of_naive(tokenizer):
    assert learnt(tokenizer, "first_turn") == (
        " User 1: fan</s>",
        "<s>Users: user 1. Profiles: User 1: fan</s>",
    )
    assert learnt(tokenizer, "last_turn")[0] == " Yes</s>"
    assert learnt(tokenizer, "all_tokens")[0] == "".join(q + r for q, r in TURNS) + "</s>"


def test_both_turns_speak_of_the_same_users(bench, config):
    book = ProfilePrompts.of(bench.dataset, config.profiles)
    asked, said, question, truth = book.dialogue([[0], [1, 2]], ["P one.", "P two."], 5, False)
    assert (
        f"user 1 watched {book.lines[0]}; user 2 watched {book.lines[1]}, {book.lines[2]}" in asked
    )
    assert said == " User 1: P one. User 2: P two." and book.lines[5] in question and truth == " No"
    assert dialogue.parse(Completion(truth, ())) is False and dialogue.parse(
        Completion("maybe", ())
    ) == Rejected("not_an_option")


def test_dialogues_hold_the_profiles_that_the_distilled_llm_wrote(bench, config):
    few = config.model_copy(
        update={
            "llm": config.llm.model_copy(
                update={"dialogue": config.llm.dialogue.model_copy(update={"dialogues": 20})}
            )
        }
    )
    ctx = bench.context(neighbours="neighbours", users="teacher/users")
    dialogues.distilled_prompts(ctx, few)
    answer(bench, "distilled", ctx)
    ctx = bench.context(
        neighbours="neighbours", prompts="prompts/distilled", completions="completions/distilled"
    )
    facts = dialogues.dialogues(ctx, few)
    rows = pd.read_parquet(ctx.out / dialogues.TURNS)["turns"]
    assert (
        facts["rows"] == len(rows) == 20 and facts["without a profile"] == 0 and facts["yes"] == 0.5
    )
    for turns in rows:
        assert (
            len(turns) == 4
            and turns[3] in (dialogue.YES, dialogue.NO)
            and turns[1].count(form.IDENTITY) == 4
        )


# teachers


def test_a_rule_teaches_of_the_training_part_alone(bench, config):
    train = bench.snapshots.part(TRAIN)
    for side, column in (("users", "user_id"), ("items", "item_id")):
        taught = teacher.read_teacher_profiles(
            bench.store.local(f"teacher/{side}", bench.keys[f"teacher/{side}"])
        )
        assert 10 <= len(taught) <= 40 and set(taught) <= set(train[column])
        phrases = 3 if side == "users" else 5
        assert all(re.fullmatch(ProfileForm(phrases, 32).pattern, f" {p}") for p in taught.values())


def test_stored_profiles_are_read_and_what_lacks_is_told(bench, config, tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    stored = config.model_copy(
        update={
            "data": config.data.model_copy(update={"dir": str(folder)}),
            "teacher": config.teacher.model_copy(update={"source": "stored"}),
        }
    )
    with pytest.raises(DataError, match=r"no stored profiles of users"):
        teacher.teach(bench.context(), stored, "user")
    users = bench.dataset.users["user_id"].tolist()
    said = ["User identity: Film fan; User interests: Golf."] * 39 + ["nonsense"]
    frame = pd.DataFrame({"user_id": [*users[:39], "nobody"], "profile": said[:39] + said[:1]})
    frame.loc[3, "profile"] = "nonsense"
    frame.to_parquet(folder / "user_profiles_x.parquet")
    ctx = bench.context()
    facts = teacher.teach(ctx, stored, "user")
    got = teacher.read_teacher_profiles(ctx.out)
    assert facts["rejected"] == {"malformed": 1} and users[3] not in got and "nobody" not in got
    assert set(got.values()) == {"User identity: Film fan; User interests: Golf."}


def test_an_endpoint_is_told_the_form_in_words(bench, config):
    ctx = bench.context()
    teacher.endpoint_prompts(ctx, config, "user")
    asked = pd.read_parquet(ctx.out / "prompts")
    assert (
        len(asked) == 40
        and set(asked["mode"]) == {"write"}
        and asked["prompt"].str.contains("strictly in this form").all()
    )


def test_what_an_endpoint_says_becomes_the_teachers_profiles(bench, config, endpoint):
    asker = endpoint_engine._Asker(
        EndpointConfig(url=endpoint.url, model="m", requests_per_minute=60_000), SecretStr("key-7")
    )
    endpoint.answers["m"] = ["User identity: Film fan; User interests: golf."] * 38 + [
        "I cannot say."
    ] * 2
    ctx = bench.context()
    teacher.endpoint_prompts(ctx, config, "user")
    asked = answer(
        bench, "teacher-users", ctx, lambda row: asker(pd.DataFrame([row])).iloc[0].to_dict()
    )
    assert len(endpoint.requests) == len(asked) == 40
    ctx = bench.context(prompts="prompts/teacher-users", completions="completions/teacher-users")
    taught = config.model_copy(
        update={"teacher": config.teacher.model_copy(update={"source": "endpoint"})}
    )
    facts = teacher.teach(ctx, taught, "user")
    got = teacher.read_teacher_profiles(ctx.out)
    assert facts["rejected"] == {"malformed": 2} and len(got) == 38
    assert set(got) < set(asked["user_id"])
    assert set(got.values()) == {"User identity: Film fan; User interests: golf."}
    with bench.making("taught") as out:
        (out / teacher.FILE).write_bytes((ctx.out / teacher.FILE).read_bytes())
    ctx = bench.context(users="taught")
    teacher.endpoint_prompts(ctx, config, "item")
    items = pd.read_parquet(ctx.out / "prompts")
    assert (
        len(items) == 30
        and items["prompt"].str.contains("Users who watched it: User identity: Film fan").mean()
        > 0.9
    )


def test_a_dry_run_tells_what_is_not_known_yet_would_cost_and_asks_nothing(
    bench, config, endpoint, monkeypatch
):
    monkeypatch.setattr(completions.session, "in_worker", lambda function, *given: function(*given))
    ctx = bench.context()
    teacher.endpoint_prompts(ctx, config, "user")
    with bench.making("prompts/teacher-users") as out:
        shutil.copytree(ctx.out / "prompts", out / "prompts")
    priced = EndpointConfig(
        url=endpoint.url, model="m", max_tokens=50, dollars_in=4e6, dollars_out=1e6, dry_run=True
    )
    ctx = bench.context(prompts="prompts/teacher-users")
    asked = pd.read_parquet(ctx.input("prompts") / "prompts")
    once = asked.drop_duplicates("prompt")
    dollars = once["prompt"].str.len().sum() + len(once) * 50
    with pytest.raises(
        DryRun,
        match=f"{len(once)} requests to m, .* at most {dollars:,}.00 dollars, at least 1 min",
    ):
        completions.generate_by_endpoint(ctx, priced, 10)
    got = pd.DataFrame([{**completion(p, "A", [], 1, 1, 2.0)} for p in once["prompt_id"][:30]])
    cache = answer_cache.cache_folder(ctx, [priced.url, "m", 50])
    prompts = answer_cache.read_prompts(str(ctx.input("prompts") / "prompts"), ["prompt_id"])
    answer_cache.add_to_cache(prompts, got, cache, "some")
    with pytest.raises(DryRun, match=f": {len(once) - 30} requests to m, "):
        completions.generate_by_endpoint(ctx, priced, 10)
    assert not endpoint.requests


# preferences


def test_bad_answers_are_of_their_kind():
    own, other = "User identity: a, b; User interests: c.", "User identity: x; User interests: y."
    got = {kind: reward_pairs.bad_answer(kind, own, other) for kind in reward_pairs.KINDS}
    assert (
        got["neighbour"] == other and got["several"] == f"{own} {other}" and got["full_stop"] == "."
    )
    assert (
        got["identity_only"] == "User identity: a, b."
        and got["repeated"] == "User identity: a, b; User identity: a, b."
    )
    assert abs(sum(reward_pairs.KINDS.values()) - 1) < 1e-9
    assert all(
        isinstance(ProfileForm(3, 32).parse(text), Rejected)
        for kind, text in got.items()
        if kind != "neighbour"
    )


def test_no_user_is_in_two_parts_of_the_preferences_and_policies_see_others(bench, config):
    ctx = bench.context(neighbours="neighbours", users="teacher/users")
    dialogues.distilled_prompts(ctx, config)
    answer(bench, "distilled", ctx)
    ctx = bench.context(
        neighbours="neighbours",
        users="teacher/users",
        prompts="prompts/distilled",
        completions="completions/distilled",
    )
    reward_pairs.preferences(ctx, config)
    pairs = pd.read_parquet(ctx.out / reward_pairs.PAIRS)
    of = {part: set(own["prompt"]) for part, own in pairs.groupby("part")}
    assert set(of) == {"train", "validation"} and not of["train"] & of["validation"]
    assert (
        set(pairs["kind"]) == set(reward_pairs.KINDS)
        and (pairs["chosen"] != pairs["rejected"]).all()
    )
    assert all(
        text.endswith(form.END) for side in ("chosen", "rejected") for text in pairs[side]
    ), "to where the judge reads"
    assert pairs["chosen"].str.startswith(form.OPENING).all()
    prompts = pd.read_parquet(ctx.out / reward_pairs.PROMPTS)["prompt"]
    assert prompts.str.endswith(form.OPENING).all()
    assert not set(prompts.str.removesuffix(form.OPENING)) & (of["train"] | of["validation"])


# profiles


def test_profiles_for_validation_know_the_training_part_alone(bench, config):
    ctx = bench.context(neighbours="neighbours")
    profiles.user_prompts(ctx, config, 0)
    asked = pd.concat(
        [pd.read_parquet(f) for f in sorted((ctx.out / "prompts").glob("*.parquet"))]
    ).set_index("prompt_id")["prompt"]
    book, snapshots = ProfilePrompts.of(bench.dataset, config.profiles), bench.snapshots
    line = dict(zip(bench.dataset.items["item_id"], book.lines, strict=True))
    held = snapshots.part(VALIDATION)
    own = {u: set(g["item_id"]) for u, g in held.groupby("user_id")}
    later = set(snapshots.part(TEST)["item_id"]) - set(snapshots.part(TRAIN, VALIDATION)["item_id"])
    cold = set(held.loc[held["cold"], "item_id"])
    for name, text in asked.items():
        at, _, user = name.partition("/")
        assert not any(line[i] in text for i in later), (
            "nothing of the second snapshot is in a prompt"
        )
        if at == "train":
            about = text.partition("Similar users:")[0]
            assert not any(line[i] in about for i in own.get(user, ())) and not any(
                line[i] in text for i in cold
            )
    assert {n.partition("/")[2] for n in asked.index if n.startswith("first/")} == set(own), (
        "who has held rows has a newer profile"
    )


def test_items_are_warm_by_their_users_and_cold_by_similar_items(bench, config):
    ctx = bench.context(neighbours="neighbours")
    profiles.user_prompts(ctx, config, 0)
    answer(bench, "users", ctx)
    ctx = bench.context(prompts="prompts/users", completions="completions/users")
    profiles.warm_prompts(ctx, config)
    warm = answer(bench, "items-warm", ctx)
    snapshots = bench.snapshots
    trained, held = set(snapshots.part(TRAIN)["item_id"]), snapshots.part(VALIDATION)
    held_out = set(held["item_id"]) - trained
    new = set(snapshots.part(TEST)["item_id"]) - trained - held_out
    assert set(warm["prompt_id"]) == {f"train/{i}" for i in trained} | {
        f"first/{i}" for i in held_out
    }
    assert warm["prompt"].str.contains(form.IDENTITY).mean() > 0.9, (
        "the profiles of users stand in the prompt"
    )
    with bench.making("vectors/texts") as out:
        save_file(
            {
                "items": np.random.default_rng(0)
                .normal(size=(len(bench.dataset.items), 8))
                .astype(np.float32)
            },
            out / "vectors.safetensors",
        )
    ctx = bench.context(
        texts="vectors/texts", prompts="prompts/items-warm", completions="completions/items-warm"
    )
    profiles.cold_prompts(ctx, config)
    cold = answer(bench, "items-cold", ctx)
    assert set(cold["prompt_id"]) == {f"train/{i}" for i in held_out} | {f"first/{i}" for i in new}
    assert not cold["prompt"].str.contains("Users who watched it").any()
    names = {f"prompts{s}": f"prompts/items{s}" for s in ("-warm", "-cold")} | {
        f"completions{s}": f"completions/items{s}" for s in ("-warm", "-cold")
    }
    for at, known in (("train", trained | held_out), ("first", trained | held_out | new)):
        ctx = bench.context(**names)
        facts = profiles._profile_texts(ctx, config, "item", at)
        texts = pd.read_parquet(ctx.out / "profiles.parquet")["text"]
        assert (
            facts["with a profile"] == len(known) == (texts != "").sum() and facts["rejected"] == {}
        )
        assert set(bench.dataset.items["item_id"][(texts != "").to_numpy()]) == known


def test_similar_items_are_the_nearest_and_never_the_item_itself():
    vectors = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.1, 0.9], [1, 1]], np.float32)
    got = similar_items(vectors, np.array([0, 3]), np.array([0, 1, 2, 3]), 2)
    assert got.tolist() == [[1, 3], [2, 1]]


def test_who_did_the_same_is_no_bad_example():
    known = Ragged(np.array([0, 2, 4, 6, 7]), np.array([1, 2, 2, 1, 3, 2, 2]))
    assert nearest_with_other_history(0, np.array([1, 2, 3]), known, 2) == 2, (
        "the order does not count"
    )
    assert (
        nearest_with_other_history(0, np.array([1, 2, 3]), known, 1) == 1
        and nearest_with_other_history(2, np.array([3]), known, 1) is None
    )


def test_takers_are_the_users_of_an_item(bench):
    source = load_tables(bench.context())
    taken, known = users_by_item(source, TEST), histories(source, TEST)
    pairs = {(u, i) for u in range(len(known)) for i in known.row(u)}
    assert {(u, i) for i in range(len(taken)) for u in taken.row(i)} == pairs and len(
        pairs
    ) == taken.start[-1]


# the table


def test_random_orders_reach_what_chance_gives(bench, config):
    source = load_tables(bench.context())
    asked = source.queries(TEST, "full-shot")
    got = evaluation.random_orders(asked, len(source.items), 0)
    free = len(asked.catalogue) - np.array(
        [len(np.intersect1d(asked.seen.row(n), asked.catalogue)) for n in range(len(asked.user))]
    )
    assert (
        np.mean(got["R@20"]) == pytest.approx(np.mean(20 / free), abs=0.05)
        and len(set(got["R@20"])) > 10
    )


def test_augment_is_tested_against_base_and_against_every_other_row(bench, config):
    noise, users = np.random.default_rng(0).normal(0, 0.01, (2, 60)), [f"u{n}" for n in range(60)]
    values = {
        "base": 0.2 + noise[0],
        "wo_user": 0.2 + noise[1],
        "mask": 0.5 + noise[0][::-1],
        "augment": 0.5 + noise[0],
    }
    inputs = {}
    for row, value in values.items():
        with bench.making(f"seed0/{row}/bias_mf") as out:
            made = [
                pd.DataFrame(
                    {"user_id": users, "setting": s} | dict.fromkeys(backbones.METRICS, value)
                )
                for s in backbones.SETTINGS
            ]
            pd.concat(made).to_parquet(out / "answers.parquet", index=False)
        inputs[f"fit/bias_mf/{row}/0"] = f"seed0/{row}/bias_mf"
    ctx = bench.context(**inputs)
    evaluation.evaluate(ctx, config.model_copy(update={"rows": tuple(values), "seeds": 1}))
    lines = json.loads((ctx.out / "metrics.json").read_text())["lines"]
    assert {line["row"] for line in lines if "p" in line} == {"wo_user", "mask", "augment"}
    assert {line["row"] for line in lines if "augment_p" in line} == {"wo_user", "mask"}
    got = against([line | {"title": "BiasMF"} for line in lines])
    assert [(part["setting"], part["row"]) for part in got] == list(
        itertools.product(backbones.SETTINGS, ("w/o user profiles", "Mask"))
    )
    for part in got:
        told = part["row"] != "Mask"
        assert [cell["told"] for cell in part["cells"]] == [told] * 4
        assert [cell["gain"] for cell in part["cells"]] == pytest.approx(
            [1.5 if told else 0] * 4, abs=0.05
        )
    assert not against(
        [line for line in lines if line["row"] != "augment" and "augment_p" not in line]
    )


def test_samples_stand_beside_the_prompts_that_were_put_whatever_the_wave_is_called(bench, config):
    ctx = bench.context(neighbours="neighbours")
    profiles.user_prompts(ctx, config, 5)
    answer(bench, "users", ctx)
    done = {
        "completions/users-mask": Done(
            "completions/users-mask", "k", 1.0, False, {"prompts": "prompts/users"}
        )
    }
    places = {"completions/users-mask": "completions/users", "prompts/users": "prompts/users"}
    got = samples(lambda stage: bench.store.local(places[stage], bench.keys[places[stage]]), done)
    assert len(got) == 3 and all(
        s["id"].startswith("users-mask: train/") and form.IDENTITY in s["answer"] for s in got
    )


# the stages


def test_rows_take_the_stages_that_they_need(config):
    names = lambda rows: {s.name for s in stages.plan(config.model_copy(update={"rows": rows}))}  # noqa: E731
    base, taught, full = names(("base",)), names(("base", "teacher")), names(("base", "augment"))
    assert (
        not any(n.startswith(("llm/", "teacher/", "completions/")) for n in base)
        and "seed0/base/popularity" in base
    )
    assert "teacher/users" in taught and not any(n.startswith("llm/") for n in taught)
    assert {
        "llm/distil",
        "llm/dialogue",
        "reward",
        "llm/policy",
        "completions/items-cold",
        "smoothing",
    } <= full
    every = stages.plan(load("toy", {"rows": list(ROWS)}))
    reads = {s.name: s.inputs for s in every}
    assert reads["completions/users-gpt_kd"] == {
        "prompts": "prompts/users-alone",
        "llm": "llm/distil",
    }
    assert (
        reads["completions/users-untuned"]["llm"]
        == reads["completions/items-cold-untuned"]["llm"]
        == "llm/base"
    )
    assert reads["completions/users-naive_last_turn"] == {
        "prompts": "prompts/users",
        "llm": "llm/naive_last_turn",
    }
    assert (
        reads["completions/users-mask"]["llm"] == "llm/dialogue"
        and reads["completions/users"]["llm"] == "llm/policy"
    )
    assert (
        reads["seed0/mask/light_gcn"]["users"] == "vectors/users-mask@first"
        and reads["seed0/wo_user/light_gcn"].get("users") is None
    )
    alone = {s.name for s in stages.plan(load("toy", {"rows": ["gpt_kd"]}))}
    assert "examples/items" in alone and not alone & {"llm/dialogue", "llm/policy", "reward"}
    none = stages.plan(load("toy", {"llm.policy.method": "none", "rows": ["augment"]}))
    assert "reward" not in {s.name for s in none}
    assert next(s for s in none if s.name == "completions/users").inputs["llm"] == "llm/dialogue"


def keys(config):
    made = {}
    for stage in stages.plan(config):
        made[stage.name] = stage.key(made)
    return made


@pytest.mark.parametrize(
    ("setting", "value", "same", "new"),
    [
        ("llm.policy.beta", 0.2, "llm/dialogue", "llm/policy"),
        ("profiles.neighbours", 2, "teacher/users@", "prompts/users"),
        ("backbone_options", {"bias_mf": {"reg": 0.2}}, "llm/policy", "seed0/base/bias_mf"),
        ("llm.dialogue.loss", "last_turn", "llm/distil", "llm/dialogue"),
        ("data.validation_items", 0.2, "vectors/texts", "snapshots"),
        ("seed", 1, "vectors/texts", "llm/base"),
    ],
)
def test_a_setting_renews_what_depends_on_it_and_nothing_else(setting, value, same, new):
    before, after = keys(load("toy")), keys(load("toy", {setting: value}))
    assert same.endswith("@") or before[same] == after[same]
    assert before.get(new) != after[new]


def test_what_cannot_work_is_refused_before_anything_starts():
    with pytest.raises(ConfigError, match="none of the backbones can use texts"):
        stages.plan(load("toy", {"backbones": ["ease"]}))
    with pytest.raises(ConfigError, match="there is no direct backbone 'nothing'"):
        stages.plan(load("toy", {"backbones": ["nothing"]}))
    with pytest.raises(ConfigError, match=r"teacher\.endpoint"):
        load("toy", {"teacher.source": "endpoint"})
    with pytest.raises(ConfigError, match="LoRA saves nothing on the embedded LLM"):
        stages.plan(load("toy", {"llm.adapter.rank": 8}))
    with pytest.raises(ValidationError):
        ReclmConfig(rows=("nothing",))


def test_the_reward_model_reads_the_query_and_the_answer(tokenizer):
    ids = policy.tokens(tokenizer, TURNS[0][0], TURNS[0][1])
    assert tokenizer.decode(ids) == "<s>" + "".join(TURNS[0]), "no end token follows"


def test_prompts_keep_their_contract_and_the_case_is_among_them(bench, config):
    user = bench.snapshots.part(TRAIN)["user_id"].iloc[0]
    ctx = bench.context(neighbours="neighbours")
    facts = profiles.user_prompts(ctx, config.model_copy(update={"case": user}), 5)
    made = pd.read_parquet(ctx.out / "prompts")
    assert 6 <= facts["rows"] == len(made) <= 11 and list(made.columns) == [
        *PROMPTS.columns,
        *IDENTITY,
    ], "five, their nearest, the case"
    assert f"train/{user}" in set(made["prompt_id"])
    with pytest.raises(DataError, match="no user 'nobody'"):
        profiles.user_prompts(
            bench.context(neighbours="neighbours"), config.model_copy(update={"case": "nobody"}), 5
        )
    assert json.dumps(made["options"].iloc[0].tolist())


def test_over_smoothing_is_of_pairs_by_one_llm_whose_prompts_differ(bench, config):
    ctx = bench.context(neighbours="neighbours")
    profiles.user_prompts(ctx, config, 20)
    asked = answer(bench, "sample", ctx)
    users = load_tables(bench.context()).users
    numbers = users.get_indexer(asked["prompt_id"].str.removeprefix("train/"))
    pairs = [(u, (u + 1) % len(users)) for u in numbers if (u + 1) % len(users) in numbers]
    same = pairs.pop()
    for n in same:
        asked.loc[numbers == n, "prompt"] = "the same"
    asked.to_parquet(
        bench.store.local("prompts/sample", bench.keys["prompts/sample"])
        / "prompts"
        / "all.parquet"
    )
    rng = np.random.default_rng(0)
    before, after = rng.normal(size=(len(numbers), 8)), np.ones((len(users), 8))
    for name, vectors in (("vectors/sample", before), ("vectors/users@train", after)):
        with bench.making(name) as out:
            save_file({"profiles": vectors.astype(np.float32)}, out / "vectors.safetensors")
            (out / "users.json").write_text(json.dumps(users[numbers].tolist()))
    ctx = bench.context(
        neighbours="neighbours",
        prompts="prompts/sample",
        before="vectors/sample",
        after="vectors/users@train",
    )
    got = profiles.smoothing(ctx, config)
    row = {u: before[n] / np.linalg.norm(before[n]) for n, u in enumerate(numbers)}
    assert got["rows"] == len(pairs) > 10
    assert got["before"]["with the nearest user"] == pytest.approx(
        np.mean([row[u] @ row[v] for u, v in pairs]), abs=1e-5
    )
    assert list(got["after"].values()) == pytest.approx([1, 1]), (
        "what the tuned LLM wrote is not compared with it"
    )


# a newer log over the LLMs of a bundle


@pytest.fixture
def bundled(bench, config, tmp_path):
    """A bundle as far as a refresh reads it."""
    folder = tmp_path / "bundle"
    for source, target in (
        ("data", "dataset"),
        ("snapshots", "snapshots"),
        ("neighbours", "neighbours"),
    ):
        shutil.copytree(bench.store.local(source, bench.keys[source]), folder / target)
    for side in ("users", "items"):
        (folder / "llm" / side).mkdir(parents=True)
        (folder / "llm" / side / "model.safetensors").write_text(side)
    facts = {"paper": "reclm", "format": 2, "config": config.model_dump(mode="json")}
    (folder / "bundle.json").write_text(json.dumps(facts))
    return folder


def test_kept_llms_take_the_place_of_an_education(bundled):
    names = [
        s.name
        for s in stages.plan(load("toy", {**SMALL, "rows": ["augment"], "llm.keep": str(bundled)}))
    ]
    assert {
        "llm/kept-users",
        "llm/kept-items",
        "completions/users",
        "completions/items-cold",
        "bundle",
    } <= set(names)
    assert not [
        n
        for n in names
        if n.startswith(("teacher", "reward", "llm/base", "llm/d", "llm/policy", "examples"))
    ]
    keys = [
        {
            s.name: s.key({i: "k" for i in s.inputs.values()})
            for s in stages.plan(
                load("toy", {**SMALL, "rows": ["augment"], "llm.keep": str(bundled)})
            )
        }
        for _ in range(2)
    ]
    assert keys[0] == keys[1]


@pytest.mark.parametrize(
    ("change", "more", "error"),
    [
        ({"paper": None}, {}, "not a RecLM bundle with LLMs"),
        ({"format": 1}, {}, "the bundle has format 1"),
        ({}, {"rows": ["mask"]}, "no LLM for mask"),
        ({}, {"profiles.history": 9}, "tuned on other prompts"),
    ],
)
def test_a_bundle_that_cannot_be_kept_is_refused(bundled, change, more, error):
    facts = json.loads((bundled / "bundle.json").read_text())
    (bundled / "bundle.json").write_text(json.dumps(facts | change))
    with pytest.raises(RaypipeError, match=error):
        stages.plan(load("toy", {**SMALL, "rows": ["augment"], "llm.keep": str(bundled), **more}))


def test_who_did_nothing_since_keeps_the_similar_users(bench, bundled, config, monkeypatch):
    source = load_tables(bench.context())
    new = np.zeros((len(source.users), 3), np.int32)

    monkeypatch.setattr(backbones, "similar_users", lambda ctx, config, name: new.copy())
    old = np.load(bundled / "neighbours" / "similar.npy")
    kept = config.model_copy(update={"llm": config.llm.model_copy(update={"keep": str(bundled)})})
    ctx = bench.context()
    assert refresh.neighbours(ctx, kept, "light_gcn") == {"rows": len(new), "as before": len(new)}
    assert np.array_equal(np.load(ctx.out / "similar.npy"), old)
    # in the bundle's snapshots one user lacks a row of today's training part
    rows = bench.snapshots.rows
    gone = rows.index[rows["part"] == TRAIN][0]
    Snapshots(rows.drop(gone)).save(bundled / "snapshots")
    ctx = bench.context()
    assert refresh.neighbours(ctx, kept, "light_gcn")["as before"] == len(new) - 1
    changed = source.users.get_loc(rows.loc[gone, "user_id"])
    got = np.load(ctx.out / "similar.npy")
    assert not got[changed].any() and np.array_equal(
        np.delete(got, changed, 0), np.delete(old, changed, 0)
    )

"""Reading, cleaning and splitting; and what bad input gets."""

import hashlib
import os
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from raypipe import plugins
from raypipe.backbones.interaction_matrices import InteractionMatrices
from raypipe.data import sources
from raypipe.data.audit import audit
from raypipe.data.config import DataConfig
from raypipe.data.dataset import Dataset, RawDataset, clean, clean_title, read
from raypipe.data.download import Archive, files_of
from raypipe.data.kcore import k_core
from raypipe.data.sources import toy
from raypipe.data.split import Split, evaluated_users, leave_one_out, make_split, temporal
from raypipe.errors import ConfigError, DataError
from raypipe.papers.llama4rec.prompt_requests import Histories


def raw(log, titles=None):
    frame = pd.DataFrame(log, columns=["user_id", "item_id", "rating", "timestamp"])
    titles = titles or {i: f"Film {i}" for i in frame["item_id"]}
    items = pd.DataFrame(
        {"item_id": list(titles), "title": list(titles.values()), "text": "a text"}
    )
    users = pd.DataFrame({"user_id": frame["user_id"].unique()})
    as_table = lambda f: pa.Table.from_pandas(f, preserve_index=False)  # noqa: E731
    return RawDataset(as_table(frame), as_table(items), as_table(users), "film", "watched")


ROWS = [("u", "a", 3.0, 1), ("u", "b", 4.0, 2), ("u", "c", 5.0, 3)]


def test_repeated_rows_keep_the_latest():
    got = clean(raw([*ROWS, ("u", "a", 1.0, 9)]), DataConfig())
    assert got.interactions[["item_id", "rating"]].values.tolist() == [
        ["b", 4.0],
        ["c", 5.0],
        ["a", 1.0],
    ]
    assert got.quality["repeated user-item rows dropped"] == 1


def test_short_users_are_left_out_and_counted():
    got = clean(raw([*ROWS, ("v", "a", 1.0, 9)]), DataConfig())
    assert set(got.interactions["user_id"]) == {"u"}
    assert got.quality["users dropped with too few interactions"] == 1
    with pytest.raises(DataError, match="no user has 3"):
        clean(raw(ROWS[:2]), DataConfig())


def test_items_without_a_row_get_a_title():
    got = clean(raw(ROWS, {"a": "A", "b": "B"}), DataConfig())
    assert got.titles["c"] == "Unknown item c"
    assert got.quality["items without a row in the items table"] == 1


def test_titles_cannot_break_a_prompt():
    assert clean_title('Say "Hi",\n\tnow ') == "Say 'Hi', now"
    got = clean(raw(ROWS, {"a": 'The "X"', "b": "The 'X'", "c": "C"}), DataConfig())
    assert list(got.titles.values()) == ["The 'X'", "The 'X' [2]", "C"]
    assert got.quality["equal titles numbered"] == 1


def test_equal_times_keep_file_order():
    log = clean(
        raw([("u", "c", 1.0, 5), ("u", "a", 1.0, 5), ("u", "b", 1.0, 5), ("u", "d", 1.0, 1)]),
        DataConfig(),
    ).interactions
    split = leave_one_out(log, 1)
    assert dict(zip(split["item_id"], split["part"], strict=True)) == {
        "d": "train",
        "c": "train",
        "a": "validation",
        "b": "test",
    }


def test_leave_one_out_by_hand():
    rows = [("u", i, 1.0, n) for n, i in enumerate("abcdef")] + [
        ("v", i, 1.0, n) for n, i in enumerate("ab")
    ]
    split = leave_one_out(
        pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"]), 3
    )
    assert set(split["user_id"]) == {"u"}, "two interactions cannot be split"
    assert split["part"].tolist() == ["train"] * 4 + ["validation", "test"]
    assert split["held"].tolist() == [False, False, True, True, False, False], (
        "two training rows stay with the hint model"
    )


def test_temporal_split_by_hand():
    rows = [
        ("u", "a", 1),
        ("u", "b", 2),
        ("u", "c", 5),
        ("u", "d", 6),
        ("u", "e", 9),
        ("u", "f", 10),
    ]
    rows += [
        ("v", "a", 1),
        ("v", "b", 3),
        ("v", "c", 4),
        ("w", "a", 8),
        ("w", "b", 9),
        ("w", "c", 10),
    ]
    log = pd.DataFrame(
        [(u, i, 5.0, t) for u, i, t in rows], columns=["user_id", "item_id", "rating", "timestamp"]
    )
    # the lower half of the twelve timestamps ends at 5, three quarters at 8 or 9
    split = temporal(log, (0.5, 0.75), 1)
    got = {u: g["part"].tolist() for u, g in split.groupby("user_id")}
    first, second = np.quantile(log["timestamp"], (0.5, 0.75), method="lower")
    assert (first, second) == (5, 9)
    assert got["u"] == ["train", "train", "train", "validation", "between", "test"]
    assert got["v"] == ["train"] * 3, "nothing later is asked of v"
    assert got["w"] == ["validation", "between", "test"], "w has nothing to train on"
    assert split.loc[split["held"], "item_id"].tolist() == ["c", "c"], (
        "the newest training row of u and of v"
    )
    made = make_split(log, DataConfig(split="temporal", temporal_cuts=(0.5, 0.75)), 1)
    assert set(evaluated_users(made.topk, "direct")["user_id"]) <= {"u"}


def test_the_audit_measures_and_checks(toy):
    found = audit(toy.split)
    later = "training rows of all users that are later than a test row, mean share"
    assert 0.05 < found[f"top-k: {later}"] < 0.95, "leave-one-out trains on other users' future"
    made = make_split(toy.dataset.interactions, DataConfig(split="temporal"), 2)
    assert audit(made)[f"top-k: {later}"] == 0 == audit(made)[f"rating: {later}"]
    broken = toy.split.topk.assign(position=0)
    with pytest.raises(AssertionError):
        audit(Split(broken, toy.split.rating))


def test_the_history_may_be_recommended_again_where_it_is_asked_for(toy):
    config = DataConfig(mask_history=False)
    open_ = InteractionMatrices(toy.dataset, make_split(toy.dataset.interactions, config, 2))
    assert not open_.queries("sequential", "test").masked and open_.queries("direct", "test").masked
    assert (
        config.label == "all, history unmasked"
        and DataConfig(split="temporal").label == "all, temporal"
    )


def test_queries_hold_what_came_before(toy):
    rows, asked = toy.rows("direct"), toy.target_rows("sequential", "test")
    queries = toy.queries("sequential", "test")
    for n, (user, position) in enumerate(zip(asked["u"], asked["position"], strict=True)):
        own = rows[rows["u"] == user]["i"].tolist()
        assert (
            queries.history.row(n).tolist() == own[:position] and queries.target[n] == own[position]
        )
    some = queries.part(np.array([5, 2]))
    assert [some.history.row(n).tolist() for n in (0, 1)] == [
        queries.history.row(n).tolist() for n in (5, 2)
    ]


def test_liked_protocol_splits_positives_and_hides_them_from_ratings():
    rows = [
        ("u", i, r, n)
        for n, (i, r) in enumerate([("a", 5), ("b", 4), ("c", 5), ("d", 4), ("e", 2), ("f", 1)])
    ]
    log = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    split = make_split(log, DataConfig(protocol="liked"), 1)
    assert split.topk["item_id"].tolist() == ["a", "b", "c", "d"]
    assert split.topk["part"].tolist() == ["train", "train", "validation", "test"]
    assert split.rating.loc[split.rating["hidden"], "item_id"].tolist() == ["c", "d"]
    assert split.rating.loc[split.rating["part"] == "train", "item_id"].tolist() == [
        "a",
        "b",
        "c",
        "d",
    ]


def test_evaluated_users():
    def user(name, items):
        return [
            (name, i, p)
            for i, p in zip(
                items, ["train"] * (len(items) - 2) + ["validation", "test"], strict=True
            )
        ]

    split = pd.DataFrame(
        user("u", "abcd") + user("v", "bax"), columns=["user_id", "item_id", "part"]
    )
    direct = evaluated_users(split, "direct")
    assert direct.values.tolist() == [["v", "validation", "a"]], "c, d and x have no training row"
    assert set(evaluated_users(split, "sequential")["user_id"]) == {"u"}, (
        "v has one training positive"
    )


def test_the_llm_reads_nothing_that_is_tested(toy):
    histories = Histories(toy)
    secret = toy.split.topk[toy.split.topk["part"] != "train"]
    for user, item in zip(secret["user_id"], toy.items.get_indexer(secret["item_id"]), strict=True):
        assert item not in histories.topk_train[user].items
        if user in histories.rated_visible:
            assert item not in histories.rated_visible[user].items
    for user, position, item in zip(
        secret["user_id"], secret["position"], toy.items.get_indexer(secret["item_id"]), strict=True
    ):
        assert item not in histories.before(user, position, "sequential", "test").items


def test_toy_is_fixed_by_its_seed_and_long_tailed():
    one, two = (read(DataConfig(name="toy")) for _ in range(2))
    pd.testing.assert_frame_equal(one.interactions, two.interactions)
    counts = one.interactions["item_id"].value_counts().to_numpy()
    assert counts[: len(counts) // 5].sum() > 0.4 * counts.sum()
    assert set(one.interactions["rating"]) == {1.0, 2.0, 3.0, 4.0, 5.0}


def test_toy_shows_half_of_the_directors_and_knows_all():
    options = toy.Options()
    items = read(DataConfig(name="toy")).items
    truth = toy.truth(options)["director"]
    shown = items[items["director"] != ""]
    assert 0.4 < len(shown) / len(items) < 0.6
    assert all(truth[i] == d for i, d in zip(shown["item_id"], shown["director"], strict=True))


def test_a_saved_dataset_is_the_same(tmp_path):
    one = read(DataConfig(name="toy"))
    one.save(tmp_path)
    two = Dataset.load(tmp_path)
    pd.testing.assert_frame_equal(one.items, two.items)
    assert (one.noun, one.attributes, one.quality) == (two.noun, two.attributes, two.quality)


def test_every_source_is_found_and_has_its_parts():
    for name in plugins.names(sources):
        module = plugins.find(sources, name, "dataset")
        assert callable(module.read) and module.Options()
    with pytest.raises(ConfigError, match="toy"):
        plugins.find(sources, "nope", "dataset")


def test_published_counts_of_ml_100k(ml_100k):
    config = DataConfig(name="ml_100k", dir=str(ml_100k), protocol="liked")
    dataset = read(config)
    assert (len(dataset.users), len(dataset.items), len(dataset.interactions)) == (
        943,
        1682,
        100_000,
    )
    split = make_split(dataset.interactions, config, 3)
    count = {
        t: (evaluated_users(split.topk, t)["part"] == "test").sum()
        for t in ("direct", "sequential")
    }
    assert count == {"direct": 927, "sequential": 940}, (
        "the denominators of the paper's Tables II and IV (LO1)"
    )


@pytest.mark.parametrize(
    "name,users,items,ratings",
    [("ml_1m", 6040, 3706, 1_000_209), ("book_crossing", 6851, 9085, 115_219)],
)
def test_published_counts_where_the_data_is_there(name, users, items, ratings):
    """Llama4Rec, Table III. The files lie where RAYPIPE_ML_1M or RAYPIPE_BOOK_CROSSING says."""
    folder = os.environ.get(f"RAYPIPE_{name.upper()}")
    if not folder:
        pytest.skip(
            f"RAYPIPE_{name.upper()} is not set: the licence of the data forbids shipping it"
        )
    log = read(DataConfig(name=name, dir=folder)).interactions
    assert (log["user_id"].nunique(), log["item_id"].nunique(), len(log)) == (users, items, ratings)


def test_ml_1m_reads_the_distribution_files(tmp_path):
    (tmp_path / "ratings.dat").write_text(
        "".join(f"1::{i}::{i % 5 + 1}::{100 - i}\n" for i in (1, 2, 3))
    )
    (tmp_path / "movies.dat").write_bytes(
        '1::Café (1995)::Comedy|Drama\n2::Heat: "Two" (1996)::Action\n3::Untimed::Film-Noir\n'.encode(
            "latin-1"
        )
    )
    (tmp_path / "users.dat").write_text("1::F::25::10::48067\n")
    got = read(DataConfig(name="ml_1m", dir=str(tmp_path)))
    assert got.interactions["item_id"].tolist() == ["3", "2", "1"] and got.interactions[
        "rating"
    ].tolist() == [4, 3, 2]
    first, second, third = got.items.itertuples()
    assert (first.title, first.genre, first.genres, first.decade) == (
        "Café (1995)",
        "Comedy",
        "Comedy, Drama",
        "1990s",
    )
    assert second.title == "Heat: 'Two' (1996)" and third.decade == "unknown"
    assert got.users.iloc[0][["gender", "age_group", "occupation", "region"]].tolist() == [
        "F",
        "25",
        "10",
        "4",
    ]
    (tmp_path / "ratings.dat").write_text("1::1::5::9\n1::2::five::9\n")
    with pytest.raises(DataError, match=r"ratings.dat, line 2, column rating"):
        read(DataConfig(name="ml_1m", dir=str(tmp_path)))


def write_book_crossing(folder):
    """Five readers of five books, a book with one reader, an implicit rating, and the quirks of the files."""
    rows = [(u, f"B{b}", 5 + (u + b) % 5) for u in range(5) for b in range(5)] + [
        (0, "B9", 7),
        (1, "B8", 0),
    ]
    (folder / "BX-Book-Ratings.csv").write_text(
        '"User-ID";"ISBN";"Book-Rating"\n' + "".join(f'"{u}";"{b}";"{r}"\n' for u, b, r in rows)
    )
    head = '"ISBN";"Book-Title";"Book-Author";"Year-Of-Publication";"Publisher";"Image-URL-S"\n'
    titles = {"B0": 'A \\"quoted\\" tale', "B1": "One; two"}
    books = "".join(
        f'"B{b}";"{titles.get(f"B{b}", f"Title {b}")}";"Ann Lee";"{1990 + b if b else 0}";"Press";"x"\n'
        for b in range(5)
    )
    (folder / "BX-Books.csv").write_bytes((head + books).encode("latin-1"))
    people = "".join(
        f'"{u}";"lyon, rhone, france";{"NULL" if u == 0 else f"{chr(34)}3{u}{chr(34)}"}\n'
        for u in range(5)
    )
    (folder / "BX-Users.csv").write_text('"User-ID";"Location";"Age"\n' + people)


def test_book_crossing_is_cut_to_its_core_and_ordered_by_seed(tmp_path):
    write_book_crossing(tmp_path)

    def got(**options):
        return read(DataConfig(name="book_crossing", dir=str(tmp_path), options=options))

    one = got()
    assert len(one.interactions) == 25 and set(one.items["item_id"]) == {
        "B0",
        "B1",
        "B2",
        "B3",
        "B4",
    }
    assert one.titles["B0"] == "A 'quoted' tale" and one.titles["B1"] == "One; two"
    assert one.items["decade"].tolist() == ["unknown", "1990s", "1990s", "1990s", "1990s"]
    assert one.users["age_group"].tolist() == ["unknown", "30", "30", "30", "30"] and set(
        one.users["country"]
    ) == {"france"}
    order = one.interactions.groupby("user_id")["item_id"].apply(list)
    assert order.map(tuple).nunique() > 1, "each user's order is drawn for itself"
    assert order.tolist() == got().interactions.groupby("user_id")["item_id"].apply(list).tolist()
    assert (
        order.tolist()
        != got(seed=1).interactions.groupby("user_id")["item_id"].apply(list).tolist()
    )


def test_the_k_core_is_taken_again_and_again():
    log = pd.DataFrame({"user_id": list("aabbcc"), "item_id": list("xyxyyz")})
    # z has one user, without z user c has one item, without c nothing else falls
    assert k_core(log, 2).to_numpy().tolist() == [["a", "x"], ["a", "y"], ["b", "x"], ["b", "y"]]
    assert k_core(log, 4).empty


def test_archives_are_fetched_once_and_checked(tmp_path, monkeypatch):
    monkeypatch.setenv("RAYPIPE_CACHE", str(tmp_path / "cache"))
    packed = tmp_path / "set.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("set/../../one.txt", "1")
        archive.writestr("set/two.txt", "2")
    good = Archive(packed.as_uri(), hashlib.md5(packed.read_bytes()).hexdigest())
    folder = files_of(None, "some", good, "one.txt", "two.txt")
    assert folder == tmp_path / "cache" / "some" and (folder / "one.txt").read_text() == "1"
    packed.unlink()
    assert files_of(None, "some", good, "one.txt") == folder, "what is there is not fetched again"
    with pytest.raises(DataError, match="could not be fetched"):
        files_of(None, "other", good, "one.txt")
    packed.write_bytes(b"something else")
    with pytest.raises(DataError, match="checksum"):
        files_of(None, "other", good, "one.txt")
    assert not (tmp_path / "cache" / "other").exists()


@pytest.fixture
def own(tmp_path):
    (tmp_path / "items.csv").write_text(
        "item_id,title,text,colour\na,Red ball,round,red\nb,Blue box,,blue\nc,Green cup,tall,green\n"
    )
    (tmp_path / "interactions.csv").write_text(
        "user_id,item_id,rating,timestamp\nu,a,3,1\nu,b,4,2\nu,c,5,3\n"
    )
    return tmp_path


def read_own(folder, **options):
    return read(DataConfig(name="folder", dir=str(folder), options=options))


def test_own_data(own):
    got = read_own(own)
    assert got.item_features == ("colour",)
    assert got.quality["items without text"] == 1
    (own / "interactions.csv").write_text("user_id,item_id\nu,a\nu,b\nu,c\n")
    assert read_own(own).interactions["timestamp"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "file,text,expected",
    [
        (
            "interactions.csv",
            "user_id,rating\nu,3\n",
            ["lacks the column(s) item_id", "interactions.csv, line 1"],
        ),
        ("interactions.csv", "user_id;item_id\nu;a\n", ["delimiter", "line 1"]),
        (
            "interactions.csv",
            "user_id,item_id,rating\nu,a,3\nu,b,good\n",
            ["'good'", "line 3, column rating", "not a number"],
        ),
        (
            "interactions.csv",
            "user_id,item_id,rating\nu,a,3\nu,b\n",
            ["expected columns", "interactions.csv"],
        ),
        ("interactions.csv", "", ["empty"]),
        ("items.csv", "item_id,title\na,Red\nb,\n", ["line 3, column title", "is empty"]),
    ],
)
def test_bad_files_name_file_line_and_column(own, file, text, expected):
    (own / file).write_text(text)
    with pytest.raises(DataError) as error:
        read_own(own)
    assert all(part in str(error.value) for part in expected), str(error.value)


def test_a_wrong_encoding_names_the_line(own):
    (own / "items.csv").write_bytes("item_id,title\na,Red\nb,Café\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"items.csv, line 3"):
        read_own(own)
    assert read_own(own, encoding="latin-1").titles["b"] == "Café"
    with pytest.raises(DataError, match="not a known encoding"):
        read_own(own, encoding="klingon")


def test_a_missing_folder_or_file_is_said(tmp_path):
    with pytest.raises(DataError, match="data-dir"):
        read(DataConfig(name="book_crossing"))
    with pytest.raises(DataError, match=r"u\.data"):
        read(DataConfig(name="ml_100k", dir=str(tmp_path)))


def test_ml_100k_with_a_wrong_delimiter(tmp_path, ml_100k):
    for file in ("u.item", "u.user", "u.genre"):
        (tmp_path / file).write_bytes((ml_100k / file).read_bytes())
    (tmp_path / "u.data").write_text("196,242,3,881250949\n")
    with pytest.raises(DataError, match="1 column"):
        read(DataConfig(name="ml_100k", dir=str(tmp_path)))


def test_histories_hold_item_numbers(toy):
    past = Histories(toy).topk[toy.users[0]]
    assert past.items.dtype == np.int64 and len(past.items) == len(past.ratings)

"""Datasets as they are distributed, downloads, and a user's own files."""

import hashlib
import os
import zipfile

import pandas as pd
import pytest

from raypipe import plugins
from raypipe.data import sources
from raypipe.data.config import DataConfig
from raypipe.data.dataset import Dataset, read
from raypipe.data.download import Archive, dataset_folder
from raypipe.data.sources import toy
from raypipe.data.split import evaluated_users, make_split
from raypipe.errors import ConfigError, DataError


def test_toy_is_fixed_by_its_seed_and_long_tailed():
    first, second = (read(DataConfig(name="toy")) for _ in range(2))
    pd.testing.assert_frame_equal(first.interactions, second.interactions)
    counts = first.interactions["item_id"].value_counts().to_numpy()
    assert counts[: len(counts) // 5].sum() > 0.4 * counts.sum()
    assert set(first.interactions["rating"]) == {1.0, 2.0, 3.0, 4.0, 5.0}


def test_toy_shows_half_of_the_directors_and_has_the_truth_of_all():
    options = toy.Options()
    items = read(DataConfig(name="toy")).items
    truth = toy.truth(options)["director"]
    shown = items[items["director"] != ""]
    assert 0.4 < len(shown) / len(items) < 0.6
    assert all(truth[i] == d for i, d in zip(shown["item_id"], shown["director"], strict=True))


def test_a_saved_dataset_loads_unchanged(tmp_path):
    saved = read(DataConfig(name="toy"))
    saved.save(tmp_path)
    loaded = Dataset.load(tmp_path)
    pd.testing.assert_frame_equal(saved.items, loaded.items)
    assert (saved.noun, saved.attributes, saved.quality) == (
        loaded.noun,
        loaded.attributes,
        loaded.quality,
    )


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
def test_published_counts_of_other_datasets(name, users, items, ratings):
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
    movies = '1::Café (1995)::Comedy|Drama\n2::Heat: "Two" (1996)::Action\n3::Untimed::Film-Noir\n'
    (tmp_path / "movies.dat").write_bytes(movies.encode("latin-1"))
    (tmp_path / "users.dat").write_text("1::F::25::10::48067\n")
    dataset = read(DataConfig(name="ml_1m", dir=str(tmp_path)))
    assert dataset.interactions["item_id"].tolist() == ["3", "2", "1"] and dataset.interactions[
        "rating"
    ].tolist() == [4, 3, 2]
    first, second, third = dataset.items.itertuples()
    assert (first.title, first.genre, first.genres, first.decade) == (
        "Café (1995)",
        "Comedy",
        "Comedy, Drama",
        "1990s",
    )
    assert second.title == "Heat: 'Two' (1996)" and third.decade == "unknown"
    assert dataset.users.iloc[0][["gender", "age_group", "occupation", "region"]].tolist() == [
        "F",
        "25",
        "10",
        "4",
    ]
    (tmp_path / "ratings.dat").write_text("1::1::5::9\n1::2::five::9\n")
    with pytest.raises(DataError, match=r"ratings.dat, line 2, column rating"):
        read(DataConfig(name="ml_1m", dir=str(tmp_path)))


def write_book_crossing(folder):
    """Five readers of five books, a book with one reader, an implicit rating, and odd lines."""
    rows = [(u, f"B{b}", 5 + (u + b) % 5) for u in range(5) for b in range(5)] + [
        (0, "B9", 7),
        (1, "B8", 0),
    ]
    (folder / "BX-Book-Ratings.csv").write_text(
        '"User-ID";"ISBN";"Book-Rating"\n' + "".join(f'"{u}";"{b}";"{r}"\n' for u, b, r in rows)
    )
    head = '"ISBN";"Book-Title";"Book-Author";"Year-Of-Publication";"Publisher";"Image-URL-S"\n'
    titles = {"B0": 'A \\"quoted\\" tale', "B1": "One; two"}
    books = ""
    for b in range(5):
        title, year = titles.get(f"B{b}", f"Title {b}"), 1990 + b if b else 0
        books += f'"B{b}";"{title}";"Ann Lee";"{year}";"Press";"x"\n'
    (folder / "BX-Books.csv").write_bytes((head + books).encode("latin-1"))
    people = "".join(
        f'"{u}";"lyon, rhone, france";{"NULL" if u == 0 else f"{chr(34)}3{u}{chr(34)}"}\n'
        for u in range(5)
    )
    (folder / "BX-Users.csv").write_text('"User-ID";"Location";"Age"\n' + people)


def test_book_crossing_keeps_its_core_and_orders_histories_by_seed(tmp_path):
    write_book_crossing(tmp_path)

    def read_books(**options):
        return read(DataConfig(name="book_crossing", dir=str(tmp_path), options=options))

    dataset = read_books()
    assert len(dataset.interactions) == 25 and set(dataset.items["item_id"]) == {
        "B0",
        "B1",
        "B2",
        "B3",
        "B4",
    }
    assert dataset.titles["B0"] == "A 'quoted' tale" and dataset.titles["B1"] == "One; two"
    assert dataset.items["decade"].tolist() == ["unknown", "1990s", "1990s", "1990s", "1990s"]
    assert dataset.users["age_group"].tolist() == ["unknown", "30", "30", "30", "30"] and set(
        dataset.users["country"]
    ) == {"france"}
    order = dataset.interactions.groupby("user_id")["item_id"].apply(list)
    assert order.map(tuple).nunique() > 1, "the order of each user is drawn separately"
    assert (
        order.tolist()
        == read_books().interactions.groupby("user_id")["item_id"].apply(list).tolist()
    )
    assert (
        order.tolist()
        != read_books(seed=1).interactions.groupby("user_id")["item_id"].apply(list).tolist()
    )


def test_archives_are_fetched_once_and_checked(tmp_path, monkeypatch):
    monkeypatch.setenv("RAYPIPE_CACHE", str(tmp_path / "cache"))
    packed = tmp_path / "set.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("set/../../one.txt", "1")
        archive.writestr("set/two.txt", "2")
    good = Archive(packed.as_uri(), hashlib.md5(packed.read_bytes()).hexdigest())
    folder = dataset_folder(None, "some", good, "one.txt", "two.txt")
    assert folder == tmp_path / "cache" / "some" and (folder / "one.txt").read_text() == "1"
    packed.unlink()
    assert dataset_folder(None, "some", good, "one.txt") == folder, (
        "files that are there are not fetched again"
    )
    with pytest.raises(DataError, match="could not be downloaded"):
        dataset_folder(None, "other", good, "one.txt")
    packed.write_bytes(b"something else")
    with pytest.raises(DataError, match="checksum"):
        dataset_folder(None, "other", good, "one.txt")
    assert not (tmp_path / "cache" / "other").exists()


@pytest.fixture
def own_folder(tmp_path):
    (tmp_path / "items.csv").write_text(
        "item_id,title,text,colour\n"
        "a,Red ball,round,red\nb,Blue box,,blue\nc,Green cup,tall,green\n"
    )
    (tmp_path / "interactions.csv").write_text(
        "user_id,item_id,rating,timestamp\nu,a,3,1\nu,b,4,2\nu,c,5,3\n"
    )
    return tmp_path


def read_own(folder, **options):
    return read(DataConfig(name="folder", dir=str(folder), options=options))


def test_the_users_own_files_are_read(own_folder):
    dataset = read_own(own_folder)
    assert dataset.item_features == ("colour",)
    assert dataset.quality["items without text"] == 1
    (own_folder / "interactions.csv").write_text("user_id,item_id\nu,a\nu,b\nu,c\n")
    assert read_own(own_folder).interactions["timestamp"].tolist() == [0, 1, 2]


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
def test_bad_files_name_file_line_and_column(own_folder, file, text, expected):
    (own_folder / file).write_text(text)
    with pytest.raises(DataError) as error:
        read_own(own_folder)
    assert all(part in str(error.value) for part in expected), str(error.value)


def test_a_wrong_encoding_names_the_line(own_folder):
    (own_folder / "items.csv").write_bytes("item_id,title\na,Red\nb,Café\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"items.csv, line 3"):
        read_own(own_folder)
    assert read_own(own_folder, encoding="latin-1").titles["b"] == "Café"
    with pytest.raises(DataError, match="not a known encoding"):
        read_own(own_folder, encoding="klingon")


def test_a_missing_folder_or_file_is_named(tmp_path):
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

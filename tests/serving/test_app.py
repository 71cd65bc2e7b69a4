"""The HTTP application over a small recommender: answers, and one sentence for what is wrong."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from fastapi.testclient import TestClient
from ray import serve

from raypipe import __version__
from raypipe.errors import ArtifactError, UnknownError
from raypipe.papers import contract
from raypipe.serving import app


class Item(NamedTuple):
    item_id: str
    title: str
    rank: int


class Answer(NamedTuple):
    items: list[Item]
    task: str


class Rating(NamedTuple):
    prediction: float


class Popular:
    """Recommends the items of its bundle in order, the new ones first."""

    tasks = ["direct"]

    def __init__(self, bundle):
        self.items = json.loads((bundle / "bundle.json").read_text())["items"]

    def recommend(self, user_id=None, history=None, k=10, task=None, new_items=()):
        if (user_id is None) == (history is None):
            raise ValueError("give either user_id or history, not both")
        if user_id == "nobody":
            raise UnknownError("user 'nobody' is not in the bundle", "", "give a history")
        titles = {item.item_id: item.title for item in new_items}
        titles |= {name: name.upper() for name in self.items if name not in (history or ())}
        ranked = enumerate(list(titles.items())[:k], 1)
        return Answer([Item(name, title, rank) for rank, (name, title) in ranked], task or "direct")

    def rate(self, user_id, item_id):
        return Rating(1.0 + self.items.index(item_id))

    def check(self):
        if not self.items:
            raise RuntimeError("the bundle is empty")


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    (tmp_path / "bundle.json").write_text(json.dumps({"items": ["a", "b", "c"]}))
    monkeypatch.setattr(contract, "recommender_of", Popular)
    return tmp_path


@pytest.fixture
def service(bundle):
    """A replica's object, made as Ray Serve makes it."""
    (service_class,) = [
        base for base in app.Service.func_or_class.__bases__ if "recommend" in vars(base)
    ]
    return service_class(*app.deployment(bundle)._bound_deployment.init_args)


@pytest.fixture
def client(service, monkeypatch):
    monkeypatch.setattr(
        serve, "get_replica_context", lambda: SimpleNamespace(servable_object=service)
    )
    return TestClient(app.api)


def test_a_known_user_and_a_history_get_a_list(client):
    answer = client.post("/recommend", json={"user_id": "u", "k": 2})
    items = [{"item_id": "a", "title": "A", "rank": 1}, {"item_id": "b", "title": "B", "rank": 2}]
    assert answer.status_code == 200 and answer.json() == {"items": items, "task": "direct"}
    answer = client.post("/recommend", json={"history": ["a", "c"], "task": "sequential"}).json()
    assert [item["item_id"] for item in answer["items"]] == ["b"] and answer["task"] == "sequential"


def test_new_items_compete_with_the_others(client):
    new = {"item_id": "n", "title": "New", "features": ["golf"]}
    answer = client.post("/recommend", json={"user_id": "u", "new_items": [new]}).json()
    assert [item["title"] for item in answer["items"]] == ["New", "A", "B", "C"]


def test_a_rating_and_the_health_of_the_service_are_answered(client):
    assert client.post("/rate", json={"user_id": "u", "item_id": "c"}).json() == {"prediction": 3.0}
    health = client.get("/healthz").json()
    assert health == {"status": "ok", "version": __version__, "tasks": ["direct"]}


@pytest.mark.parametrize(
    "request_body,status,message",
    [
        ({"user_id": "u", "k": 0}, 422, "The request is malformed: k: Input should be greater"),
        ({"user_id": "u", "k": 101}, 422, "The request is malformed: k: Input should be less"),
        ({"user": "u"}, 422, "The request is malformed: user: Extra inputs are not permitted"),
        ({"user_id": "u", "new_items": [{}]}, 422, "new_items.0.item_id: Field required; "),
        ({"user_id": "nobody"}, 404, "User 'nobody' is not in the bundle; give a history."),
        ({"user_id": "u", "history": []}, 400, "Give either user_id or history, not both."),
    ],
)
def test_what_is_wrong_with_a_request_is_one_sentence(client, request_body, status, message):
    answer = client.post("/recommend", json=request_body)
    assert answer.status_code == status and list(answer.json()) == ["error"]
    text = answer.json()["error"]
    assert message in text and text[0].isupper() and text.endswith(".")


def test_a_body_that_is_no_json_is_refused(client):
    answer = client.post("/rate", content=b"{", headers={"content-type": "application/json"})
    assert answer.status_code == 422 and "malformed" in answer.json()["error"]


def test_a_replica_that_cannot_answer_is_not_healthy(service):
    service.check_health()
    service.recommender.items.clear()
    with pytest.raises(RuntimeError, match="the bundle is empty"):
        service.check_health()


def test_a_folder_without_a_bundle_is_refused_before_anything_starts(tmp_path):
    with pytest.raises(ArtifactError, match="there is no bundle in") as error:
        app.deployment(tmp_path / "absent")
    assert "RAYPIPE_BUNDLE" in str(error.value)

"""The recommender behind Ray Serve: POST /recommend, POST /rate, GET /healthz, and /docs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from ray import serve

from raypipe import __version__
from raypipe.errors import ArtifactError, UnknownError
from raypipe.papers import contract
from raypipe.papers.contract import MAX_ITEMS


class NewItem(BaseModel):
    """An item that came after training."""

    model_config = ConfigDict(extra="forbid")
    item_id: str
    title: str = Field(min_length=1)
    text: str = ""
    features: list[str] = Field(
        default_factory=list, description="as in training, e.g. category and subcategory"
    )


class RecommendRequest(BaseModel):
    """Who asks: a known user, or anyone with a history (item ids, oldest first); new items compete
    with all others.
    """

    model_config = ConfigDict(extra="forbid")
    user_id: str | None = Field(None, examples=["u0001"])
    history: list[str] | None = Field(None, max_length=1000)
    k: int = Field(10, ge=1, le=MAX_ITEMS)
    task: Literal["direct", "sequential"] | None = None
    new_items: list[NewItem] = Field(
        default_factory=list, max_length=MAX_ITEMS, description="RecLM bundles only"
    )


class RateRequest(BaseModel):
    """A known user and a known item."""

    model_config = ConfigDict(extra="forbid")
    user_id: str
    item_id: str


api = FastAPI(
    title="raypipe", version=__version__, description="LLM-augmented recommendations from a bundle."
)


def sentence(text: str) -> str:
    """The text with a capital at its beginning and a full stop; ids inside keep their letters."""
    return f"{text[:1].upper()}{text[1:]}."


@api.exception_handler(RequestValidationError)
async def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
    """422 with one sentence that names each bad field."""
    faults = "; ".join(
        f"{'.'.join(str(p) for p in e['loc'][1:]) or 'body'}: {e['msg']}" for e in error.errors()
    )
    return JSONResponse({"error": f"The request is malformed: {faults}."}, 422)


@api.exception_handler(UnknownError)
async def unknown(request: Request, error: UnknownError) -> JSONResponse:
    """404 with what is not known."""
    return JSONResponse({"error": sentence(f"{error.what}; {error.todo}")}, 404)


@api.exception_handler(ValueError)
async def impossible(request: Request, error: ValueError) -> JSONResponse:
    """400 with why."""
    return JSONResponse({"error": sentence(str(error))}, 400)


def deployment(bundle: Path) -> Any:
    """The Serve application of a bundle.

    Raises:
        ArtifactError: there is no bundle, said before any replica starts.
    """
    if not (bundle / "bundle.json").is_file():
        raise ArtifactError(
            f"there is no bundle in {bundle}",
            "RAYPIPE_BUNDLE",
            "run `make pipeline` first, or set RAYPIPE_BUNDLE",
        )
    return Service.bind(str(bundle.resolve()))  # type: ignore[attr-defined]


@serve.deployment(health_check_period_s=30, health_check_timeout_s=60, max_ongoing_requests=16)
@serve.ingress(api)
class Service:
    """One replica: a bundle in memory."""

    def __init__(self, bundle: str) -> None:
        self.recommender = contract.recommender_of(Path(bundle))
        self.recommender.check()

    def check_health(self) -> None:
        """Takes the real path: a replica that lives but cannot answer is replaced."""
        self.recommender.check()

    @api.post("/recommend")
    def recommend(self, request: RecommendRequest) -> dict[str, Any]:
        """The best items: with the rank that each model gave and the weight alpha of the LLM, or,
        of RecLM, with profiles.
        """
        new_items = [contract.NewItem(**item.model_dump()) for item in request.new_items]
        answer = self.recommender.recommend(
            request.user_id, request.history, request.k, request.task, new_items
        )
        return {**answer._asdict(), "items": [item._asdict() for item in answer.items]}

    @api.post("/rate")
    def rate(self, request: RateRequest) -> dict[str, Any]:
        """The predicted rating, its two parts and alpha."""
        rating: dict[str, Any] = self.recommender.rate(request.user_id, request.item_id)._asdict()
        return rating

    @api.get("/healthz")
    def healthz(self) -> dict[str, Any]:
        """Whether a real request is answered."""
        self.recommender.check()
        return {"status": "ok", "version": __version__, "tasks": self.recommender.tasks}

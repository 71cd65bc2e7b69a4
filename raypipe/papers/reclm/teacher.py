"""The profiles that the LLM learns from (R10): stored ones, those of an endpoint, or those of a rule that needs no LLM.

Only users and items of the training part are asked about (RO24: nothing of the second snapshot, nothing that validation holds out).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from raypipe.backbones.arrays import Ragged
from raypipe.cluster import ray_data
from raypipe.data.snapshot import VALIDATION
from raypipe.errors import DataError
from raypipe.papers.reclm.config import ReclmConfig
from raypipe.papers.reclm.histories import histories, tables, takers
from raypipe.papers.reclm.rendering import Book
from raypipe.pipeline.stage import Context
from raypipe.prompts import profiles
from raypipe.prompts.contract import Rejected, Rendered
from raypipe.schema import PROMPTS
from raypipe.seeding import generator
from raypipe.steps.completions import answers

#: what an endpoint, which cannot be bound by a grammar, is told
FORM = "Write it strictly in this form, with at most {phrases} of each: User identity: A, B, C; User interests: X, Y, Z."
FILE = "profiles.parquet"


def write_rows(ctx: Context, rows: Sequence[tuple[str, Rendered]], name: str = "part") -> None:
    """PROMPTS rows in files as small as the pieces in which answers are kept."""
    (ctx.out / "prompts").mkdir(exist_ok=True)
    frame = pd.DataFrame(
        [
            {
                "prompt_id": i,
                "template": name,
                "prompt": r.text,
                "mode": r.mode,
                "pattern": r.pattern,
                "options": list(r.options),
                "payload": list(r.payload),
            }
            for i, r in rows
        ],
        columns=list(PROMPTS.columns),
    )
    ray_data.write_pieces(
        frame, lambda part: PROMPTS.of(part, ctx.name), str(ctx.out / "prompts"), f"{name}-"
    )


def asked_users(config: ReclmConfig, known: Ragged) -> np.ndarray:
    """The users whose profiles a teacher writes: drawn among those with a history."""
    some = np.flatnonzero(np.diff(known.start))
    rng = generator(config.seed, "teacher", "users")
    return np.sort(rng.permutation(some)[: config.teacher.users])


def asked_items(config: ReclmConfig, taken: Ragged) -> np.ndarray:
    """The items whose profiles a teacher writes: drawn among those that somebody took in the training part."""
    some = np.flatnonzero(np.diff(taken.start))
    rng = generator(config.seed, "teacher", "items")
    return np.sort(rng.permutation(some)[: config.teacher.items])


def _free(made: Rendered, phrases: int) -> Rendered:
    """A prompt for an endpoint: the form in words, as no grammar binds the answer."""
    return made._replace(text=f"{made.text}\n{FORM.format(phrases=phrases)}", mode="write")


def endpoint_prompts(ctx: Context, config: ReclmConfig, side: str) -> dict[str, Any]:
    """prompts/ of a teacher at an endpoint: of users, or, with the users' profiles as input, of items."""
    source = tables(ctx)
    book = Book.of(source.dataset, config.profiles)
    known = histories(source, VALIDATION)
    own = config.profiles
    rows = []
    if side == "users":
        for u in asked_users(config, known):
            rows.append(
                (
                    f"teacher/{source.users[u]}",
                    _free(book.user(known.row(u), (), source.users[u]), own.user_phrases),
                )
            )
    else:
        written = read_profiles(ctx.input("users"))
        taken = takers(source, VALIDATION)
        for i in asked_items(config, taken):
            of = [p for p in (written.get(source.users[u]) for u in taken.row(i)) if p]
            made = book.item(int(i), of, (), source.items[i])
            rows.append((f"teacher/{source.items[i]}", _free(made, own.item_phrases)))
    write_rows(ctx, rows, "teacher")
    return {"rows": len(rows)}


def teach(ctx: Context, config: ReclmConfig, side: str) -> dict[str, Any]:
    """profiles.parquet: id and profile of users, or of items."""
    source = tables(ctx)
    own = config.profiles
    phrases = own.user_phrases if side == "users" else own.item_phrases
    rejected: Counter[str] = Counter()
    if config.teacher.source == "rule":
        made = _rule(ctx, config, side)
    else:
        raw = _stored(ctx, config, side) if config.teacher.source == "stored" else _answered(ctx)
        made = {}
        for name, text in raw:
            got = profiles.parse(text, phrases, own.phrase)
            if isinstance(got, Rejected):
                rejected[got.kind] += 1
            else:
                made[name] = got
    index = source.users if side == "users" else source.items
    sizes = np.diff(
        (histories(source, VALIDATION) if side == "users" else takers(source, VALIDATION)).start
    )
    known = set(index[np.flatnonzero(sizes)])
    kept = {name: profile for name, profile in made.items() if name in known}
    if len(kept) < 10:
        raise DataError(
            f"the teacher has profiles of {len(kept)} {side} of the training part, at least 10 are needed",
            f"teacher/{side}",
            "see teacher.source and teacher.users, teacher.items",
        )
    pd.DataFrame({"id": list(kept), "profile": [p.text for p in kept.values()]}).to_parquet(
        ctx.out / FILE, index=False
    )
    return {
        "rows": len(kept),
        "outside the training part": len(made) - len(kept),
        "rejected": dict(rejected),
    }


def _answered(ctx: Context) -> list[tuple[str, str]]:
    got = answers(ctx, "prompts", "completions")
    return [(row.payload[0], row.answer) for row in got.itertuples()]


def _stored(ctx: Context, config: ReclmConfig, side: str) -> list[tuple[str, str]]:
    """Profiles from the data's folder; at most as many as are asked for, drawn by the seed."""
    kind = side.removesuffix("s")
    folder = Path(config.data.dir or ".")
    files = sorted(folder.glob(f"{kind}_profiles*.parquet"))
    if not files:
        raise DataError(
            f"there are no stored profiles of {side}",
            f"{folder}/{kind}_profiles*.parquet",
            f"add a file with the columns {kind}_id and profile, or choose another teacher.source",
        )
    frame = pd.concat([pd.read_parquet(f) for f in files])
    lacking = {f"{kind}_id", "profile"} - set(frame.columns)
    if lacking:
        raise DataError(
            f"stored profiles lack the column(s) {', '.join(sorted(lacking))}", str(files[0])
        )
    frame = frame.drop_duplicates(f"{kind}_id")
    most = config.teacher.users if side == "users" else config.teacher.items
    order = generator(config.seed, "stored", side).permutation(len(frame))[:most]
    some = frame.iloc[np.sort(order)]
    return list(zip(some[f"{kind}_id"].astype(str), some["profile"].astype(str), strict=True))


def read_profiles(folder: Path) -> dict[str, str]:
    """id -> profile, as `teach` wrote them."""
    frame = pd.read_parquet(folder / FILE)
    return dict(zip(frame["id"], frame["profile"], strict=True))


def _rule(ctx: Context, config: ReclmConfig, side: str) -> dict[str, profiles.Profile]:
    """Features and telling words of a user's items; for an item its own and those of the profiles of who took it."""
    source = tables(ctx)
    book = Book.of(source.dataset, config.profiles)
    known, own = histories(source, VALIDATION), config.profiles
    telling = _telling(book)
    made = {}
    if side == "users":
        for u in asked_users(config, known):
            items = known.row(u)
            identities = Counter(f"{v} fan" for i in items for v in book.features[i] if v)
            interests = Counter(w for i in items for w in telling(i))
            made[source.users[u]] = _commonest(identities, interests, own.user_phrases, own.phrase)
        return made
    written = read_profiles(ctx.input("users"))
    parsed = {u: profiles.parse(text, own.user_phrases, own.phrase) for u, text in written.items()}
    taken = takers(source, VALIDATION)
    for i in asked_items(config, taken):
        of = [
            p
            for p in (parsed.get(source.users[u]) for u in taken.row(i))
            if isinstance(p, profiles.Profile)
        ]
        identities = Counter({f"{v} fan": len(of) + 1 for v in book.features[i] if v}) + Counter(
            x for p in of for x in p.identities
        )
        interests = Counter({w: len(of) + 1 for w in telling(i)}) + Counter(
            x for p in of for x in p.interests
        )
        made[source.items[i]] = _commonest(identities, interests, own.item_phrases, own.phrase)
    return made


def _commonest(
    identities: Counter[str], interests: Counter[str], phrases: int, longest: int
) -> profiles.Profile:
    who, what = (
        [w for w, _ in sorted(c.items(), key=lambda x: (-x[1], x[0]))] or ["anything"]
        for c in (identities, interests)
    )
    return profiles.made(who, what, phrases, longest)


def _telling(book: Book) -> Callable[[int], list[str]]:
    """The words of a title that some titles share, at most a tenth of them: at most three, the rarest first."""
    words = [
        sorted({w for w in re.findall(r"[^\W\d_]{4,}", title.lower())}) for title in book.titles
    ]
    spread = Counter(w for own in words for w in own)
    most = max(2, len(words) // 10)
    return lambda i: sorted(
        (w for w in words[i] if 1 < spread[w] <= most), key=lambda w: (spread[w], w)
    )[:3]

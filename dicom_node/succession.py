"""Which runs of a study count, and what each replaces.

What the coordinator decides about a study, one run a model or one refusal, is a *generation*.  The next one supersedes
it: what has not begun to go out never will, and what has is named as the predecessor of the run that replaces it.
Each function is one change in one transaction of the ledger, so that a delivery begins either before a run is
superseded, and then has a successor that names it, or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from dicom_node.database import outbox, pairs, story
from dicom_node.work.job import Work

SUPERSEDED = "superseded"
ANY = ""  # the lane of a refusal, which is no model's; and of runs that older versions registered
ON_DISK = ""  # the destination of a result set that goes nowhere else


@dataclass(frozen=True, slots=True)
class Decision:
    """Run ids.  ``runs``: all that count now, which must be on the queue; ``new``: those of them just registered.

    ``superseded``: those that no longer count.
    """

    runs: tuple[str, ...]
    new: tuple[str, ...] = ()
    superseded: tuple[str, ...] = ()


def decide(connection: sa.Connection, study: str, works: Sequence[Work], at: float) -> Decision:
    """Make ``works`` (same study) what counts for it; what counts already, by content and model's name, stays.

    ``at``: Unix time.  A run whose id was used before, for content that counts again, gets an id of its own.
    """
    rows = _rows(connection, study)
    current = [row for row in rows if row["superseded"] is None]
    kept = {work.run_id: row for work in works if (row := _same(work, current))}
    new = [work for work in works if work.run_id not in kept]
    counting = {row["run_id"] for row in kept.values()}
    gone = [row["run_id"] for row in current if row["run_id"] not in counting]
    generation = 1 + max((row["generation"] for row in rows), default=0)
    out = _out(connection, [row["run_id"] for row in rows])
    registered = []
    for work in new:
        unused = all(row["run_id"] != work.run_id for row in rows)
        named = work if unused else replace(work, run_id=f"{work.run_id}-{generation}")
        _register(connection, named, generation, _replaced(rows, _lane(work), out))
        registered.append(named.run_id)
    if new and counting:
        connection.execute(sa.update(pairs).where(pairs.c.run_id.in_(counting)).values(generation=generation))
    text = f"run {', '.join(registered)} replaces it" if registered else "nothing is asked of this model any more"
    _supersede(connection, study, gone, at, text)
    return Decision((*counting, *registered), tuple(registered), tuple(gone))


def withdraw(connection: sa.Connection, study: str, subject: str | None, at: float) -> tuple[str, ...]:
    """Supersede what counts, is about other content than ``subject`` (None: any), and has not begun to go out.

    For a study that has changed and is not decided anew.  Returns the run ids.
    """
    current = [row for row in _rows(connection, study) if row["superseded"] is None]
    out = _out(connection, [row["run_id"] for row in current])
    stale = [r["run_id"] for r in current if r["run_id"] not in out and _subject(r) != subject]
    _supersede(connection, study, stale, at, "the study has changed since, and is judged again")
    return tuple(stale)


def begin_delivery(connection: sa.Connection, run_id: str, destination: str, at: float) -> bool:
    """Whether the set may go to the destination: True once it has begun to, False for ever once it is superseded."""
    here = (outbox.c.run_id == run_id) & (outbox.c.destination == destination)
    begun = connection.execute(sa.select(outbox.c.begun).where(here)).scalar()
    if begun is not None:
        return True
    superseded = connection.execute(sa.select(pairs.c.superseded).where(pairs.c.run_id == run_id)).scalar()
    state = "withheld" if superseded is not None else "kept" if destination == ON_DISK else "waiting"
    row = {"run_id": run_id, "destination": destination, "state": state, "attempts": 0, "at": at}
    row |= {"reason": SUPERSEDED, "begun": None} if superseded is not None else {"reason": "", "begun": at}
    changed = {name: row[name] for name in ("state", "reason", "begun", "at")}
    upsert = insert(outbox).values(row)
    connection.execute(upsert.on_conflict_do_update(index_elements=["run_id", "destination"], set_=changed))
    return superseded is None


def _rows(connection: sa.Connection, study: str) -> list[Mapping[str, Any]]:
    query = sa.select(pairs).where(pairs.c.study_instance_uid == study).order_by(pairs.c.generation)
    return [dict(row) for row in connection.execute(query).mappings()]


def _same(work: Work, current: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The run that is this work already; an older version's run, filed under no model, is any model's."""
    lane = _lane(work)
    return next((r for r in current if _subject(r) == work.subject and r["lane"] in (lane, ANY)), None)


def _subject(row: Mapping[str, Any]) -> str:
    return Work(row["run_id"], row["study_instance_uid"], json.loads(row["content"])).subject


def _lane(work: Work) -> str:
    return ANY if work.is_refusal else work.bundle


def _out(connection: sa.Connection, run_ids: Sequence[str]) -> set[str]:
    """Those that have begun to go out, to any destination."""
    query = sa.select(outbox.c.run_id).where(outbox.c.run_id.in_(run_ids), outbox.c.begun.is_not(None))
    return set(connection.execute(query).scalars())


def _replaced(rows: Sequence[Mapping[str, Any]], lane: str, out: set[str]) -> list[str]:
    """What is out and is replaced by a new run of this lane: of the generation before, or what that would replace."""
    lanes = {row["run_id"]: row["lane"] for row in rows}

    def concerns(run_id: str) -> bool:
        return lane == ANY or lanes.get(run_id, ANY) in (lane, ANY)

    before = [row for row in rows if concerns(row["run_id"])]
    last = max((row["generation"] for row in before), default=0)
    found: list[str] = []
    for row in before:
        if row["generation"] == last:
            found += [row["run_id"]] if row["run_id"] in out else filter(concerns, json.loads(row["replaces"]))
    return list(dict.fromkeys(found))


def _register(connection: sa.Connection, work: Work, generation: int, replaces: Sequence[str]) -> None:
    row = {
        "run_id": work.run_id,
        "study_instance_uid": work.study_instance_uid,
        "content": work.as_json(),
        "state": "queued",
        "lane": _lane(work),
        "generation": generation,
        "replaces": json.dumps(replaces),
    }
    connection.execute(insert(pairs).values(row))


def _supersede(connection: sa.Connection, study: str, run_ids: Sequence[str], at: float, text: str) -> None:
    if not run_ids:
        return
    mine = pairs.c.run_id.in_(run_ids)
    connection.execute(sa.update(pairs).where(mine).values(superseded=at))
    connection.execute(sa.update(pairs).where(mine, pairs.c.state == "queued").values(state=SUPERSEDED))
    waiting = (outbox.c.run_id.in_(run_ids), outbox.c.state == "waiting", outbox.c.begun.is_(None))
    connection.execute(sa.update(outbox).where(*waiting).values(state="withheld", reason=SUPERSEDED, at=at))
    told = {"study_instance_uid": study, "event": SUPERSEDED, "destination": "", "at": at, "text": text}
    rows = [told | {"run_id": run_id} for run_id in run_ids]
    connection.execute(insert(story).values(rows).on_conflict_do_nothing())

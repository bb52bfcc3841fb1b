"""Which runs of a study count, and what each replaces.

What the coordinator decides about a study, one run a model or one refusal, is a *generation*.  The next one supersedes
it: what has not begun to go out never will, and what has is named as the predecessor of the run that replaces it.
Each function is one change in one transaction of the ledger, so that a delivery begins either before a run is
superseded, and then has a successor that names it, or not at all.  Requests to do a study again
(``dicom_node.again``) are answered in the transaction that decides it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from dicom_node import again
from dicom_node.database import outbox, pairs, settled, story
from dicom_node.identity import Basis
from dicom_node.work.job import Work
from inference.facts import Occasion, OccasionKind

SUPERSEDED = "superseded"
AGAIN = "decided-again"
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


def decide(
    connection: sa.Connection,
    study: str,
    works: Sequence[Work],
    at: float,
    bases: Mapping[str, Basis] | None = None,
    otherwise: str = "",
) -> Decision:
    """Make ``works`` (same study) what counts for it; what counts already, by content and model's name, stays.

    Unless somebody asked for the study again and it would come out another way.  ``at``: Unix time.  ``bases``: what
    each would be made with now, by run id.  ``otherwise``: the answer to whoever asked, where there is no work.
    A run whose id was used before, for content that counts again, gets an id of its own.
    """
    there = _Study.of(connection, study, works, bases or {})
    same = {work.run_id: row for work in works if (row := _same(work, there.current))}
    kept = {run_id: row for run_id, row in same.items() if not _once_more(row, run_id, there)}
    counting = {row["run_id"] for row in kept.values()}
    new = [_succeed(connection, w, same.get(w.run_id), there, at) for w in works if w.run_id not in kept]
    if new:  # they are not on the queue yet: a restart must look at the study
        connection.execute(sa.delete(settled).where(settled.c.study_instance_uid == study))
        generation = sa.update(pairs).where(pairs.c.run_id.in_(counting)).values(generation=there.generation)
        connection.execute(generation)
    gone = [row["run_id"] for row in there.current if row["run_id"] not in counting]
    text = f"run {', '.join(new)} replaces it" if new else "nothing is asked of this model any more"
    _supersede(connection, study, gone, at, text)
    told = f"decided again: run {', run '.join(new)}" if new else again.why_not(list(kept.values()), otherwise)
    again.answer(connection, there.asked, at, told)
    return Decision((*counting, *new), tuple(new), tuple(gone))


@dataclass(frozen=True, slots=True)
class _Study:
    """What is known when a study is decided.

    ``rows``: its runs; ``out``: those that have begun to go out; ``asked``: requests that wait; ``lanes``: all that
    something is asked of now; ``bases``: what each run would be made with now.
    """

    rows: Sequence[Mapping[str, Any]]
    out: set[str]
    asked: Sequence[again.Request]
    lanes: set[str]
    bases: Mapping[str, Basis]

    @classmethod
    def of(cls, connection: sa.Connection, study: str, works: Sequence[Work], bases: Mapping[str, Basis]) -> _Study:
        rows = _rows(connection, study)
        out = _out(connection, [row["run_id"] for row in rows])
        return cls(rows, out, again.waiting(connection, study), {_lane(work) for work in works}, bases)

    @property
    def current(self) -> list[Mapping[str, Any]]:
        return [row for row in self.rows if row["superseded"] is None]

    @property
    def generation(self) -> int:
        """The number of the one that is being decided."""
        return 1 + max((row["generation"] for row in self.rows), default=0)


def _succeed(connection: sa.Connection, work: Work, same: Mapping[str, Any] | None, there: _Study, at: float) -> str:
    """Register a new run with what it replaces and why; ``same``: the one it is done again for.  Returns its id."""
    if any(row["run_id"] == work.run_id for row in there.rows):
        named = replace(work, run_id=f"{work.run_id}-{there.generation}")
    else:
        named = work
    replaces = _replaced(there, _lane(work))
    before = [row for row in there.rows if row["run_id"] in replaces or row is same]
    occasions = _occasions(work, before, there)
    _register(connection, named, there.generation, replaces, occasions)
    if there.asked:
        _tell(connection, work.study_instance_uid, AGAIN, [named.run_id], at, again.in_words(occasions))
    return named.run_id


def _once_more(row: Mapping[str, Any], run_id: str, there: _Study) -> bool:
    """Whether a run that counts, and would count again as ``run_id``, is to be done again."""
    basis = there.bases.get(run_id)
    if not there.asked or basis is None:
        return False
    refusal = _work(row).is_refusal
    return any(request.force for request in there.asked) or bool(again.reasons(row, basis, is_refusal=refusal))


def _occasions(work: Work, before: Sequence[Mapping[str, Any]], there: _Study) -> tuple[Occasion, ...]:
    """Why it replaces the runs ``before``; what whoever asked said comes last."""
    basis, asked = there.bases.get(work.run_id), there.asked
    kinds: set[OccasionKind] = {kind for row in before for kind in again.differences(row, basis)} if basis else set()
    if any(row["lane"] not in (_lane(work), ANY) for row in before) and not work.is_refusal:
        kinds.add("model")
    if not asked and any(_subject(row) != work.subject for row in before):
        kinds.add("content")
    if asked and any(row["state"] in ("refused", "failed") for row in before):
        kinds.add("unsuccessful")
    elif asked and not work.is_refusal and any(_subject(row) != work.subject for row in before):
        kinds.add("choice")
    said = list(dict.fromkeys(request.because for request in asked if request.because))
    if asked and not said and not kinds:
        said = [""]
    return (*(Occasion(kind) for kind in again.SAID if kind in kinds), *(Occasion("asked", text) for text in said))


def withdraw(connection: sa.Connection, study: str, subjects: Collection[str], at: float) -> tuple[str, ...]:
    """Supersede what counts, is about other content than ``subjects`` (none: all), and has not begun to go out.

    For a study that has changed and is not decided anew.  Returns the run ids.
    """
    current = [row for row in _rows(connection, study) if row["superseded"] is None]
    out = _out(connection, [row["run_id"] for row in current])
    stale = [r["run_id"] for r in current if r["run_id"] not in out and _subject(r) not in subjects]
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


def _work(row: Mapping[str, Any]) -> Work:
    return Work(row["run_id"], row["study_instance_uid"], json.loads(row["content"]))


def _subject(row: Mapping[str, Any]) -> str:
    return _work(row).subject


def _lane(work: Work) -> str:
    return ANY if work.is_refusal else work.bundle


def _out(connection: sa.Connection, run_ids: Sequence[str]) -> set[str]:
    """Those that have begun to go out, to any destination."""
    query = sa.select(outbox.c.run_id).where(outbox.c.run_id.in_(run_ids), outbox.c.begun.is_not(None))
    return set(connection.execute(query).scalars())


def _replaced(there: _Study, lane: str) -> list[str]:
    """What is out and is replaced by a new run of this lane: of the generation before, or what that would replace.

    A model that is new to the study is the heir of those that nobody asks any more: a newer one often has another name.
    """
    lanes = {row["run_id"]: row["lane"] for row in there.rows}
    mine = {lane, ANY}
    if not any(row["lane"] == lane and row["run_id"] in there.out for row in there.rows):
        mine |= set(lanes.values()) - there.lanes

    def concerns(run_id: str) -> bool:
        return lane == ANY or lanes.get(run_id, ANY) in mine

    before = [row for row in there.rows if concerns(row["run_id"])]
    last = max((row["generation"] for row in before), default=0)
    found: list[str] = []
    for row in before:
        if row["generation"] == last:
            found += [row["run_id"]] if row["run_id"] in there.out else filter(concerns, json.loads(row["replaces"]))
    return list(dict.fromkeys(found))


def _register(
    connection: sa.Connection, work: Work, generation: int, replaces: Sequence[str], occasions: Sequence[Occasion]
) -> None:
    row = {
        "run_id": work.run_id,
        "study_instance_uid": work.study_instance_uid,
        "content": work.as_json(),
        "state": "queued",
        "lane": _lane(work),
        "generation": generation,
        "replaces": json.dumps(replaces),
        "occasions": again.as_json(occasions),
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
    _tell(connection, study, SUPERSEDED, run_ids, at, text)


def _tell(connection: sa.Connection, study: str, event: str, run_ids: Sequence[str], at: float, text: str) -> None:
    told = {"study_instance_uid": study, "event": event, "destination": "", "at": at, "text": text}
    rows = [told | {"run_id": run_id} for run_id in run_ids]
    connection.execute(insert(story).values(rows).on_conflict_do_nothing())

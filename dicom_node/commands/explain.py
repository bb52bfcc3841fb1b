"""`petct-node explain`: the whole story of a study from what is stored: arrivals, choices, runs, results, deliveries.

UIDs, descriptions and times, and nothing else of the patient.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from difflib import get_close_matches
from typing import Any, TypeVar

from dicom_node import again
from dicom_node.assemble import Traffic, Wait, judge
from dicom_node.assemble.kinds import kinds_of
from dicom_node.assemble.routing import Router
from dicom_node.assemble.series import is_ours
from dicom_node.chronicle import Chronicle, KnownStudy
from dicom_node.config import Settings
from dicom_node.contracts import Contracts
from dicom_node.errors import ROWS, row
from dicom_node.index import Index
from dicom_node.ledger import Event, Ledger
from dicom_node.work.job import Work
from dicom_node.work.result_set import read_set
from inference.facts import Refused

T = TypeVar("T")
LISTED = 20  # studies that are listed, where none is named
NEAREST = 5
UNDECIDED = "undecided"


def list_studies(settings: Settings) -> list[dict[str, Any]]:
    """The studies with the latest arrivals: UID, description, instances, last arrival, state.

    Raises ``Refused`` (nothing-stored).
    """
    return with_tables(settings, _list)


def explain_study(study_instance_uid: str, settings: Settings) -> dict[str, Any]:
    """The object of `explain --json`.  Raises ``Refused``: nothing-stored, study-unknown."""
    return with_tables(settings, lambda index, ledger: _explain(study_instance_uid, settings, index, ledger))


def with_tables(settings: Settings, ask: Callable[[Index, Ledger], T]) -> T:
    """What ``ask`` answers from the node's tables, whether it runs or not.  Raises ``Refused`` (nothing-stored)."""
    if not settings.index_file.is_file():
        raise Refused(
            "nothing-stored",
            f"There is no index at {settings.index_file}: no node has run on this data folder. Name its configuration "
            "with --config.",
        )
    index, ledger = Index(settings.index_file), Ledger(settings.index_file)
    try:
        return ask(index, ledger)
    finally:
        index.close()
        ledger.close()


def _list(index: Index, ledger: Ledger) -> list[dict[str, Any]]:
    known = Chronicle(index.engine).studies(LISTED)
    return [
        asdict(study)
        | {"last": _time(study.last), "state": _state(ledger.runs(study.study_instance_uid), _untold(ledger, study))}
        for study in known
    ]


def _untold(ledger: Ledger, study: KnownStudy) -> list[str]:
    return [e.event for e in ledger.timeline(study.study_instance_uid) if not e.run_id]


def _explain(study: str, settings: Settings, index: Index, ledger: Ledger) -> dict[str, Any]:
    chronicle = Chronicle(index.engine)
    series, aside = chronicle.series(study), chronicle.set_aside(study)
    if not series and not aside:
        raise unknown_study(study, chronicle)
    runs, events = ledger.runs(study), ledger.timeline(study)
    state = _state(runs, [e.event for e in events if not e.run_id])
    return {
        "study_instance_uid": study,
        "state": state,
        "waits": _waits(study, settings, index) if state == UNDECIDED else None,
        "series": [asdict(s) | {"first": _time(s.first), "last": _time(s.last)} for s in series],
        "open_associations": index.open_associations(study),
        "set_aside": [asdict(a) | {"first": _time(a.first), "last": _time(a.last)} | _to_do(a.code) for a in aside],
        "not_answered": [
            {"at": _time(e.at), "event": e.event, "text": e.text} | _to_do(_code(e))
            for e in events
            if not e.run_id and e.event in ("refused", "not-routed")
        ],
        "requests": [_request(r) for r in ledger.requests(study)],
        "runs": [_run(dict(r), runs, settings, ledger) for r in runs],
        "timeline": [
            {"at": _time(e.at), "event": e.event, "run_id": e.run_id, "destination": e.destination, "text": e.text}
            for e in events
        ],
    }


def _code(event: Event) -> str:
    return event.event if event.event in ROWS else event.text.partition(":")[0]


def unknown_study(study: str, chronicle: Chronicle) -> Refused:
    """The refusal for a study of which nothing has come; it names those whose UIDs are like it."""
    known = [k.study_instance_uid for k in chronicle.studies()]
    near = get_close_matches(study, known, NEAREST, 0.8)
    told = f"Very like it: {', '.join(near)}." if near else f"It has {len(known)} other(s)."
    return Refused(
        "study-unknown",
        f"The node has nothing of a study {study}. {told} `petct-node explain` without a UID lists the latest.",
    )


def _state(runs: Sequence[Mapping[str, Any]], untold: Sequence[str]) -> str:
    """Of the runs that count now, each state once; without a run what was decided, if anything was."""
    states = dict.fromkeys(str(r["state"]) for r in runs if r["superseded"] is None)
    if states:
        return ", ".join(states)
    decided = [event for event in untold if event in ("refused", "not-routed")]
    return decided[-1] if decided else UNDECIDED


def _waits(study: str, settings: Settings, index: Index) -> str:
    """What the coordinator waits for: its own judgement, repeated."""
    instances = [i for i in index.study_instances(study) if not is_ours(i)]
    set_aside = index.study_set_aside(study)
    if not instances and not set_aside:
        return "nothing: all that came of it this node wrote itself"
    arrivals = {uid: index.arrivals(uid) for uid in {i.series_instance_uid for i in instances}}
    traffic = Traffic(index.last_arrival(study), arrivals, index.open_associations(study))
    router = Router.of(settings, Contracts.read(settings))
    kinds = kinds_of(instances, router.kinds, router.kinds_by_name)
    awaits_pet = "PET/CT" in router.kinds
    verdict = judge(instances, traffic, time.time(), settings.assemble, set_aside, kinds=kinds, awaits_pet=awaits_pet)
    if isinstance(verdict, Wait):
        return f"{verdict.why}; decided by {_time(verdict.until)} if nothing more comes"
    return "it is ready to be decided: the coordinator does so within a second while the node runs"


def _run(run: dict[str, Any], runs: Sequence[Mapping[str, Any]], settings: Settings, ledger: Ledger) -> dict[str, Any]:
    work = ledger.work(run["run_id"])
    found = read_set(settings.results_dir / run["run_id"])
    receipts = ledger.receipts(run["run_id"])
    return {
        "run_id": run["run_id"],
        "bundle": work.bundle or None,
        "state": run["state"],
        **{key: run[key] or None for key in ("code", "reason")},
        **_to_do(run["code"]),
        "started_at": run["started_at"],
        "superseded": None if run["superseded"] is None else _time(run["superseded"]),
        "replaces": list(run["replaces"]),
        "replaced_by": [r["run_id"] for r in runs if run["run_id"] in r["replaces"]],
        "because": again.in_words(run["occasions"]) or None,
        **_subject(work),
        "results": [asdict(r) | {"path": str(r.path)} for r in found.results] if found else [],
        "timings_s": dict(found.timings_s) if found else {},
        "deliveries": [
            asdict(d) | {"receipts": [_receipt(r) for r in receipts if r["destination"] == d.destination]}
            for d in ledger.deliveries(run["run_id"])
        ],
    }


def _subject(work: Work) -> dict[str, Any]:
    """What the run is about, and the choices that led there."""
    content = work.content
    if work.is_refusal:
        refused = work.refusal()
        told = {"code": refused.code, "reason": refused.reason}
        nothing = dict.fromkeys(("kind", "pet", "ct", "region"))
        return {"refusal": told | _to_do(refused.code), **nothing, **_choices(content)}
    series = {name: _series(content[name], work) if content[name] else None for name in ("pet", "ct")}
    kind = content.get("kind", "PET/CT")
    return {"refusal": None, "kind": kind, **series, "region": content["region"], **_choices(content)}


def _series(series: Mapping[str, Any], work: Work) -> dict[str, Any]:
    return {
        "study_instance_uid": series.get("study_instance_uid", work.study_instance_uid),
        "series_instance_uid": series["series_instance_uid"],
        "instances": len(set(map(json.dumps, series["instances"]))),
        "why": series["why"],
    }


def _choices(content: Mapping[str, Any]) -> dict[str, Any]:
    return {"choices": list(content["story"]), "warnings": list(content.get("cautions", ()))}


def _request(request: again.Request) -> dict[str, Any]:
    """Somebody asked for the study again."""
    return {
        "at": _time(request.at),
        "because": request.because or None,
        "force": request.force,
        "answered": None if request.answered is None else _time(request.answered),
        "answer": request.answer or None,
    }


def _receipt(receipt: Mapping[str, Any]) -> dict[str, Any]:
    return {key: receipt[key] for key in ("kind", "sop_instance_uid", "taken", "how")} | {"at": _time(receipt["at"])}


def _to_do(code: str) -> dict[str, str | None]:
    """Who must act on a refusal, and what to do."""
    known = row(code) if code in ROWS else None
    return {"who": known.who if known else None, "advice": known.advice if known else None}


def _time(unix: float) -> str:
    return datetime.fromtimestamp(unix).astimezone().isoformat(timespec="milliseconds")

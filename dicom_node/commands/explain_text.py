"""`petct-node explain` for people: a timeline, and below it each run with its results and receipts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

STYLES = {
    "done": "green",
    "confirmed": "green",
    "refused": "red",
    "failed": "red",
    "set aside": "red",
    "not-routed": "yellow",
    "withheld": "yellow",
    "left-out": "yellow",
    "kept-first": "yellow",
    "superseded": "yellow",
    "undecided": "yellow",
}


def print_studies(studies: Sequence[Mapping[str, Any]], console: Console) -> None:
    """The latest studies, one a line; never folded, so that a UID can be copied."""
    for study in studies:
        line = Text(f"{_clock(study['last'])}  ", "dim")
        line.append(f"{study['state']:12}", STYLES.get(study["state"], "cyan"))
        line.append(f"{study['instances']:6} instances  {study['study_instance_uid']}  {study['description']}", "")
        console.print(line, soft_wrap=True)
    if not studies:
        console.print("no study has come yet")


def print_story(story: Mapping[str, Any], console: Console) -> None:
    """One study."""

    def say(text: str, style: str = "") -> None:
        console.print(Text(text, style), soft_wrap=True)

    say(f"study {story['study_instance_uid']}: {story['state']}", "bold")
    if story["waits"]:
        say(f"  waits: {story['waits']}", "yellow")
    if story["open_associations"]:
        say(f"  associations still open: {story['open_associations']}", "yellow")
    console.print(_timeline(story))
    for aside in story["set_aside"]:
        say(f"set aside ({aside['code']}, {aside['count']}): {aside['reason']}", "red")
        say(f"  what to do ({aside['who']}): {aside['advice']}")
    for event in story["not_answered"]:
        say(f"{event['event']}: {event['text']}", STYLES[event["event"]])
        if event["advice"]:
            say(f"  what to do ({event['who']}): {event['advice']}")
    names = _names(story)
    for run in story["runs"]:
        _print_run(run, names, say)


def print_requests(asked: Sequence[Mapping[str, Any]], console: Console) -> None:
    """What became of studies that were asked for again."""
    for request in asked:
        console.print(Text(f"{request['study_instance_uid']}: {request['state']}", "bold"), soft_wrap=True)
        if request["answer"]:
            console.print(Text(f"  {request['answer']}"), soft_wrap=True)


def _timeline(story: Mapping[str, Any]) -> Table:
    names = _names(story)
    lines = [(e["at"], e["event"], _told(e, names)) for e in story["timeline"]]
    for series in story["series"]:
        name = f"{series['modality']} series {series['number'] or 'without number'}"
        name += f" '{series['description']}'" if series["description"] else ""
        senders = ", ".join(series["senders"]) or "an unknown sender"
        via = f"from {senders}, associations: {series['associations']}"
        lines.append((series["first"], "arrives", f"{name}, {via}"))
        lines.append((series["last"], "arrived", f"{name}, instances: {series['instances']}"))
    lines += [(r["at"], "asked-again", r["because"] or "") for r in story["requests"]]
    lines += [(r["answered"], "answered", _named(r["answer"], names)) for r in story["requests"] if r["answered"]]
    lines += [(a["first"], "set aside", f"{a['code']}, {a['count']}") for a in story["set_aside"]]
    table = Table(box=None, pad_edge=False, show_header=False)
    for column in ("time", "event", "what"):
        table.add_column(column, no_wrap=column != "what", overflow="fold")
    for at, event, what in sorted(lines, key=lambda line: line[0]):
        table.add_row(Text(_clock(at), "dim"), Text(event, STYLES.get(event, "cyan")), Text(what))
    return table


def _told(event: Mapping[str, str], names: Mapping[str, str]) -> str:
    text = _named(event["text"], names)
    parts = (names.get(event["run_id"]), event["destination"] and f"to {event['destination']}", text)
    return ": ".join(part for part in parts if part)


def _named(text: str, names: Mapping[str, str]) -> str:
    """With "run 1" for its run id; the longest first, since an id may begin with another."""
    for run_id in sorted(names, key=len, reverse=True):
        text = text.replace(f"run {run_id}", names[run_id])
    return text


def _names(story: Mapping[str, Any]) -> dict[str, str]:
    """Run ids are long: people get "run 1", …"""
    return {run["run_id"]: f"run {number}" for number, run in enumerate(story["runs"], 1)}


def _clock(time: str) -> str:
    """ISO 8601 without the offset: all times are this machine's."""
    return time[:23].replace("T", " ")


def _print_run(run: Mapping[str, Any], names: Mapping[str, str], say: Callable[..., None]) -> None:
    bundle = f", bundle {run['bundle']}" if run["bundle"] else ""
    say(f"{names[run['run_id']]}: {run['state']}{bundle}", STYLES.get(run["state"], "bold"))
    say(f"  {run['run_id']}", "dim")
    for key, text in (("replaces", "replaces"), ("replaced_by", "is replaced by")):
        for other in run[key]:
            say(f"  {text} {names.get(other, other)}")
    if run["because"]:
        say(f"  because {run['because']}")
    told = run["refusal"] or run
    if told["code"]:
        say(f"  ({told['code']}): {told['reason']}", "red")
        say(f"  what to do ({told['who']}): {told['advice']}")
    for sentence in run["choices"]:
        say(f"  {sentence}")
    for caution in run["warnings"]:
        say(f"  warning ({caution['code']}): {caution['text']}", "yellow")
    for kind, results in groupby(run["results"], lambda result: result["kind"]):
        first, *others = results
        more = f" and {len(others)} more of its series" if others else ""
        say(f"  {kind:14} {first['sop_instance_uid']}  {first['path']}{more}")
    for delivery in run["deliveries"]:
        confirmed = len({r["sop_instance_uid"] for r in delivery["receipts"] if r["taken"]})
        of = f"{confirmed} of {len(run['results'])} objects confirmed"
        reason = f", {delivery['reason']}" if delivery["reason"] else ""
        text = f"  to {delivery['destination']}: {delivery['state']}, {of}, tries that failed: {delivery['attempts']}"
        say(f"{text}{reason}", STYLES.get(delivery["state"], ""))

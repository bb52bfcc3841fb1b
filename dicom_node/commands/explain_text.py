"""`petct-node explain` for people: a timeline, and below it each run with its results and receipts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    "kept-first": "yellow",
    "superseded": "yellow",
    "undecided": "yellow",
}


def print_studies(studies: Sequence[Mapping[str, Any]], console: Console) -> None:
    """The latest studies, one a line."""
    table = Table(box=None, pad_edge=False)
    for heading in ("last arrival", "state", "instances", "description", "Study Instance UID"):
        table.add_column(heading, no_wrap=heading.startswith("Study"))
    for study in studies:
        values = (study["last"], study["state"], str(study["instances"]), study["description"])
        table.add_row(*map(Text, (*values, study["study_instance_uid"])))
    console.print(table if studies else "no study has come yet")


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
    for run in story["runs"]:
        _print_run(run, say)


def _timeline(story: Mapping[str, Any]) -> Table:
    lines = [(e["at"], e["event"], _told(e)) for e in story["timeline"]]
    for series in story["series"]:
        name = f"{series['modality']} series {series['number'] or 'without number'}"
        name += f" '{series['description']}'" if series["description"] else ""
        senders = ", ".join(series["senders"]) or "an unknown sender"
        via = f"from {senders}, associations: {series['associations']}"
        lines.append((series["first"], "arrives", f"{name}, {via}"))
        lines.append((series["last"], "arrived", f"{name}, instances: {series['instances']}"))
    lines += [(a["first"], "set aside", f"{a['code']}, {a['count']}") for a in story["set_aside"]]
    table = Table(box=None, pad_edge=False, show_header=False)
    for column in ("time", "event", "what"):
        table.add_column(column, no_wrap=column != "what", overflow="fold")
    for at, event, what in sorted(lines, key=lambda line: line[0]):
        table.add_row(Text(at.replace("T", " "), "dim"), Text(event, STYLES.get(event, "cyan")), Text(what))
    return table


def _told(event: Mapping[str, str]) -> str:
    parts = (event["destination"] and f"to {event['destination']}", event["text"], event["run_id"])
    return ", ".join(part for part in parts if part)


def _print_run(run: Mapping[str, Any], say: Any) -> None:
    bundle = f" by {run['bundle']}" if run["bundle"] else ""
    say(f"run {run['run_id']}{bundle}: {run['state']}", STYLES.get(run["state"], "bold"))
    for key, text in (("replaces", "replaces"), ("replaced_by", "is replaced by")):
        for other in run[key]:
            say(f"  {text} {other}")
    told = run["refusal"] or run
    if told["code"]:
        say(f"  ({told['code']}): {told['reason']}", "red")
        say(f"  what to do ({told['who']}): {told['advice']}")
    for sentence in run["choices"]:
        say(f"  {sentence}")
    for caution in run["warnings"]:
        say(f"  warning ({caution['code']}): {caution['text']}", "yellow")
    for result in run["results"]:
        say(f"  {result['kind']:10} {result['sop_instance_uid']}  {result['path']}")
    for delivery in run["deliveries"]:
        confirmed = len({r["sop_instance_uid"] for r in delivery["receipts"]})
        of = f"{confirmed} of {len(run['results'])} objects confirmed"
        reason = f", {delivery['reason']}" if delivery["reason"] else ""
        text = f"  to {delivery['destination']}: {delivery['state']}, {of}, tries that failed: {delivery['attempts']}"
        say(f"{text}{reason}", STYLES.get(delivery["state"], ""))

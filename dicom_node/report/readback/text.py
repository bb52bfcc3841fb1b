"""Our results for people, from what was read back out of the DICOM."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from dicom_node.report.readback.collect import sets
from dicom_node.report.readback.summary import LesionSummary, PatientSummary, PredictionSummary, ResultSummary
from dicom_node.report.words.phrases import table as phrase_table

MEASURES = {
    "suv_max": "SUVmax",
    "suv_mean": "SUVmean",
    "suv_peak": "SUVpeak",
    "volume_ml": "ml",
    "mtv_ml": "MTV ml",
    "tlg": "TLG g",
}
WITHOUT_PET = {"volume_ml": "ml", "mean_hu": "HU", "mean_iodine": "mg/ml iodine"}
GONE = "named by the report, not among these files"
OTHER_SUVS = {  # in a table of their own: one line of a terminal does not hold them beside the others
    "lbm-janma_max": "SULmax",
    "lbm-janma_peak": "SULpeak",
    "lbm-james_max": "SULmax James",
    "lbm-james_peak": "SULpeak James",
    "bsa_max": "SUVbsa max",
    "ibw_max": "SUVibw max",
}


def print_summaries(summaries: Sequence[ResultSummary], console: Console) -> None:
    """Study by study and set by set: the reports in words, then one line for each other object."""
    study = ""
    for found in sets(summaries):
        first = found[0]
        if first.study_instance_uid != study:
            study = first.study_instance_uid
            console.rule(_text(f"Study {study}", "bold"), align="left", style="dim")
            if first.patient is not None:
                console.print(_patient(first.patient), highlight=False)
        _print_set(found, console)


def _print_set(found: Sequence[ResultSummary], console: Console) -> None:
    main = found[0]
    console.print(_heading(main), highlight=False)
    for summary in found:
        if summary.kind == "sr" or summary is main:
            _print_report(summary, console)
    _print_objects(found, main, console)
    if main.research_use_only:
        console.print("[bold]Research use only.[/bold]")
    console.print()


def _heading(main: ResultSummary) -> Text:
    """Who spoke, and when."""
    when = datetime.fromisoformat(main.created).isoformat(" ", "seconds") if main.created else "time not told"
    parts = [when, f"petct-node {main.node_version}"]
    parts += [f"model {main.model}"] if main.model else []
    parts += [f"texts in {main.language}"] if main.language else []
    return _text(", ".join(parts), "bold")


def _patient(patient: PatientSummary) -> Text:
    told = {name.replace("_", " "): value for name, value in asdict(patient).items() if value}
    return _text("; ".join(f"{name} {value}" for name, value in told.items()) or "no patient named", "cyan")


def _print_report(summary: ResultSummary, console: Console) -> None:
    title = summary.series_description.replace(" (research use only)", "")
    console.print(_text(title, "underline"), highlight=False)
    for line in _lines(summary):
        console.print(Padding(line, (0, 0, 0, 2)), highlight=False)
    if summary.lesions:
        console.print(Padding(lesion_table(summary.lesions), (0, 0, 0, 2)))
        others = lesion_table(summary.lesions, OTHER_SUVS)
        if others.rows:
            console.print(Padding(others, (0, 0, 0, 2)))
    for line in _ground(summary):
        console.print(Padding(line, (0, 0, 0, 2)), highlight=False)


def _lines(summary: ResultSummary) -> Iterator[Text]:
    """What must be read first: whether to use it at all, then the verdict."""
    if summary.replaced_by:
        yield _labelled("replaced", f"by report {summary.replaced_by}; do not use these results", "bold red")
    for named in summary.replaces:
        where = "" if named.path is None else f" ({Path(named.path).name})"
        elsewhere = "" if named.study_instance_uid == summary.study_instance_uid else " of another study"
        yield _labelled("replaces", f"report {named.sop_instance_uid}{where}{elsewhere}", "yellow")
    if summary.refusal_reason or summary.refusal_code:
        yield _labelled("not analysed", f"({summary.refusal_code}) {summary.refusal_reason}", "red")
        if summary.refusal_class:
            yield _labelled("class", f"{summary.refusal_class[1]} ({summary.refusal_class[0]})")
        if summary.refusal_advice:
            yield _labelled("what to do", summary.refusal_advice)
    if summary.prediction is not None:
        yield Text.from_markup(prediction_line(summary.prediction))
    if summary.lesion_count is not None:
        shown = len({lesion.tracking_id.removesuffix(" MTV") for lesion in summary.lesions})
        left_out = f", {summary.lesion_count - shown} of them not listed" if shown < summary.lesion_count else ""
        yield _labelled("lesions", f"{summary.lesion_count} found{left_out}")


def _ground(summary: ResultSummary) -> Iterator[Text]:
    """What the numbers rest on, and what to beware of."""
    for comment in summary.comments:
        if not _is_said_already(comment, summary):
            yield _labelled("comment", comment)
    for warning in summary.warnings:
        yield _labelled("warning", warning, "yellow")
    if summary.suv_rule:
        yield _labelled("SUV", summary.suv_rule)
    for also in summary.suv_also:
        yield _labelled("SUV", also)
    if summary.suv_inputs:
        yield _labelled("inputs", "; ".join(summary.suv_inputs))
    for value in summary.values:
        given = (
            "missing: training median used" if value.value is None else f"{_plain(value.value)} {value.unit}".strip()
        )
        yield _labelled("value", f"{value.title}: {given} ({value.source})")
    if summary.model_statement and summary.kind == "sr":
        yield _labelled("model", summary.model_statement)
    if summary.model_parameters:
        yield _labelled("model", "; ".join(map(_shortened, summary.model_parameters)))


def _plain(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _is_said_already(comment: str, summary: ResultSummary) -> bool:
    """The verdict, a refusal's reason and the reservation stand in lines of their own."""
    advice = summary.refusal_advice.partition(": ")[2]
    said = [summary.refusal_reason, advice, summary.prediction.name if summary.prediction else ""]
    reservation = phrase_table("phrases")["research-use-only"].values()
    return comment in reservation or any(part and part in comment for part in said)


def _shortened(parameter: str) -> str:
    """A digest is known by its first 12 digits; --json has it whole."""
    name, colon, digest = parameter.partition("sha256:")
    return f"{name}{colon}{digest[:12]}"


def _print_objects(found: Sequence[ResultSummary], main: ResultSummary, console: Console) -> None:
    """The files of the set, and what the main report names that is not among them."""
    if [s.kind for s in found] == ["sr"] and all(m.path is not None for m in main.members):
        return  # it is printed already
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for (kind, said), files in _alike((s.kind, _content(s), Path(s.path).name) for s in found):
        names = files[0] if len(files) == 1 else f"{files[0]} … {files[-1]} ({len(files)} files)"
        table.add_row(_text(kind, "bold"), _text(f"{names}: {said}"))
    for (kind, why), uids in _alike((m.kind, GONE, m.sop_instance_uid) for m in main.members if m.path is None):
        more = f" and {len(uids) - 1} more" if len(uids) > 1 else ""
        table.add_row(_text(kind, "bold yellow"), _text(f"{why}: {uids[0]}{more}", "yellow"))
    for kind, count in main.counts.items():
        if missing := count - sum(summary.kind == kind for summary in found):
            table.add_row(_text(kind, "bold yellow"), _text(f"{missing} of {count} not among these files", "yellow"))
    console.print(_text("Set", "underline"))
    console.print(Padding(table, (0, 0, 0, 2)), highlight=False)


def _content(summary: ResultSummary) -> str:
    contours = ", ".join(lesion.tracking_id for lesion in summary.lesions if summary.kind == "sr_viewer")
    return summary.content or (f"contours of {contours}" if contours else "see above")


def _alike(rows: Iterable[tuple[str, str, str]]) -> Iterator[tuple[tuple[str, str], list[str]]]:
    """The last column of rows that are alike in the others: the slices of a series take one line."""
    for alike, group in groupby(rows, key=lambda row: row[:2]):
        yield alike, [row[2] for row in group]


NO_RESULT = "Demonstration only, not a result"


def prediction_line(prediction: PredictionSummary) -> str:
    """Target, probability with its interval or why there is none, and applicability; in Rich's markup.

    Where the model does not apply that comes first, and a demonstration's number is called no result.
    """
    said = prediction.status
    reasons = f" ({_markup('; '.join(prediction.applicability_reasons))})" if prediction.applicability_reasons else ""
    if prediction.probability is not None:
        interval = "no interval: one member"
        if prediction.interval is not None:
            interval = f"95 % interval {prediction.interval[0]:.1%} to {prediction.interval[1]:.1%}"
        if prediction.applicability == "outside":
            number = f"{_markup(prediction.name)}: {prediction.probability:.1%} ({interval})"
            return f"[bold]The model does not apply to this study[/bold]{reasons}. {NO_RESULT}: {number}"
        said = f"[bold]{prediction.probability:.1%}[/bold] ({interval}), {prediction.status}"
    return f"{_markup(prediction.name)}: {said}; applicability: {prediction.applicability}{reasons}"


def lesion_table(lesions: Sequence[LesionSummary], measures: Mapping[str, str] = MEASURES) -> Table:
    """One row a measurement group that has any, with those columns of ``measures`` that any of them has."""
    if measures is MEASURES and not any("suv_max" in lesion.measures for lesion in lesions):
        measures = WITHOUT_PET
    columns = {key: name for key, name in measures.items() if any(key in lesion.measures for lesion in lesions)}
    segments = any(lesion.segment_number is not None for lesion in lesions)
    table = Table(box=None, pad_edge=False)
    for name in ("lesion", *(["seg."] if segments else []), *(["found by"] if measures is not OTHER_SUVS else [])):
        table.add_column(name)
    for name in columns.values():
        table.add_column(name, justify="right")
    for lesion in lesions:
        if not any(key in lesion.measures for key in columns):
            continue
        cells = [lesion.tracking_id]
        cells += [str(lesion.segment_number or "")] if segments else []
        cells += [lesion.source] if measures is not OTHER_SUVS else []
        values = (lesion.measures.get(key) for key in columns)
        table.add_row(*map(_text, cells), *("" if value is None else f"{value:.2f}" for value in values))
    return table


def _labelled(label: str, said: str, style: str = "dim") -> Text:
    return Text.assemble((f"{label}: ", style), _shown(said))


def _text(said: str, style: str = "") -> Text:
    return Text(_shown(said), style)


def _markup(said: str) -> str:
    from rich.markup import escape

    return escape(_shown(said))


def _shown(said: str) -> str:
    """Without what would steer a terminal: a file may hold anything."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in said)

"""Many result files together: folders, studies, sets, and which report replaces which."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from dicom_node.report.readback.kinds import ORDER
from dicom_node.report.readback.read import read_result
from dicom_node.report.readback.summary import Named, ResultSummary
from inference.facts import Refused


def summarise(paths: Iterable[Path], *, patient: bool = False) -> tuple[ResultSummary, ...]:
    """Every result once, study by study and set by set, the main report of each first.

    A folder stands for the results below it; what else lies there is passed over.  Each report then says which of the
    objects that it names are among these files, and which report among them replaces it.  Raises as ``read_result``,
    and "not-a-result" for a folder without any.
    """
    read = partial(read_result, patient=patient)
    every = (result for path in paths for result in (_below(path, patient=patient) if path.is_dir() else [read(path)]))
    found = {result.sop_instance_uid: result for result in every}
    successor = {
        named.sop_instance_uid: result.sop_instance_uid
        for result in sorted(found.values(), key=_rank, reverse=True)  # the main report's word stands
        for named in result.replaces
    }
    linked = [
        replace(
            result,
            members=tuple(_with_path(named, found) for named in result.members),
            replaces=tuple(_with_path(named, found) for named in result.replaces),
            replaced_by=successor.get(uid),
        )
        for uid, result in found.items()
    ]
    return tuple(sorted(linked, key=_place))


def sets(summaries: Sequence[ResultSummary]) -> tuple[tuple[ResultSummary, ...], ...]:
    """Those of one run together: of one study, one model, one node version and one start."""
    runs: dict[tuple[str, ...], list[ResultSummary]] = {}
    for summary in summaries:
        runs.setdefault(_run(summary), []).append(summary)
    return tuple(map(tuple, runs.values()))


def _run(summary: ResultSummary) -> tuple[str, ...]:
    return (summary.study_instance_uid, summary.created, summary.model, summary.node_version)


def _place(summary: ResultSummary) -> tuple[tuple[str, ...], int, str, str]:
    return (_run(summary), _rank(summary), Path(summary.path).name, summary.sop_instance_uid)


def _rank(summary: ResultSummary) -> int:
    return ORDER.index(summary.kind)


def _with_path(named: Named, found: dict[str, ResultSummary]) -> Named:
    result = found.get(named.sop_instance_uid)
    return named if result is None else replace(named, kind=result.kind, path=result.path)


def _below(folder: Path, *, patient: bool) -> list[ResultSummary]:
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and _is_dicom(p)):
        try:
            found.append(read_result(path, patient=patient))
        except Refused as refused:
            if refused.code != "not-a-result":  # a damaged result is not passed over
                raise
    if not found:
        raise Refused("not-a-result", f"{folder} holds no result written by petct-node.")
    return found


def _is_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return True  # nobody can know: reading it says why

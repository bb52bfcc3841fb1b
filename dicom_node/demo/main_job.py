"""The main job once, for people: a study goes in by C-STORE, its report comes out in an Orthanc of its own.

Everything happens in one folder: the study (a phantom, unless one is given), Orthanc, the node, what came back.
What is printed was read from the DICOM files that Orthanc returned.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dicom_node.commands import out_folder
from dicom_node.commands.send import print_report, progress_bar, scan_outgoing, send_folder
from dicom_node.demo.node_process import NodeProcess
from dicom_node.demo.orthanc_process import PrivateOrthanc
from dicom_node.demo.orthanc_results import fetch_results, write_png
from dicom_node.ledger import Event, Ledger
from dicom_node.report import ResultSummary
from dicom_node.work.result_set import ResultSet, read_set
from inference.facts import Refused

DONE, REFUSED, FAILED = 0, 3, 4
SENDER = "DEMOSENDER"
WANTED = ("sr", "seg", "heatmap")  # without these the main job is not done
ANSWER_LIMIT_S = 1200.0
SHORTEST_SHOWN_S = 0.005
DELIVERED = ("confirmed", "kept-first")
# here it is not the user's study or machine that is at fault, but what we started
OUR_FAILURES = frozenset(
    {"orthanc-not-started", "node-not-started", "peer-unreachable", "association-rejected", "archive-unreachable"}
)
# a node waits ten minutes for what is missing of a study; here nothing more will come
ALL_IS_SENT = "[assemble]\ngive_up_s = 20.0\n"
# pynetdicom can lose an answer: the file must go again before the node gives the study up
ANSWER_WITHIN_S = 8.0


@dataclass
class _Outcome:
    """What the demo has to say at its end; ``status``: "done", "refused" or "failed"."""

    folder: Path
    status: str = "failed"
    reason_code: str = ""
    reason: str = ""
    study_instance_uid: str = ""
    results: tuple[ResultSummary, ...] = ()
    key_image: str = ""
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        return {"done": DONE, "refused": REFUSED}.get(self.status, FAILED)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Note how long the block took."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = time.monotonic() - began

    def as_json(self) -> str:
        plain = {**asdict(self), "folder": str(self.folder)}
        plain["seconds"] = {name: round(value, 3) for name, value in self.seconds.items()}
        return json.dumps(plain, indent=2, ensure_ascii=False) + "\n"


def run_demo(*, study: Path | None, keep: bool, out: Path | None, as_json: bool) -> int:
    """Run the main job and say what came of it.

    Returns 0 only where SR, SEG and heatmap were read back from Orthanc; 3 where the study or the set-up was refused
    with a reason; 4 where no result came.  ``keep`` leaves Orthanc and node running until Ctrl-C.
    """
    console = Console(stderr=as_json)
    folder = (out or Path("demo-run") / datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")).absolute()
    outcome = _Outcome(folder)
    orthanc, node = PrivateOrthanc(folder / "orthanc", peers=(SENDER,)), None
    with ExitStack() as running, _sigterm_as_ctrl_c():
        try:
            out_folder.make(folder)
            study = study or _make_phantom(folder / "study", outcome, console)
            outcome.study_instance_uid = _study_instance_uid(study)
            with outcome.stage("start Orthanc"):
                running.enter_context(orthanc)
            node = NodeProcess(folder / "node", orthanc.http_url, more=ALL_IS_SENT)
            with outcome.stage("start the node"):
                running.enter_context(node)
            _do_main_job(study, node, orthanc, outcome, console)
        except Refused as refused:
            outcome.status = "failed" if refused.code in OUR_FAILURES else "refused"
            outcome.reason_code, outcome.reason = refused.code, refused.reason
        except KeyboardInterrupt:
            console.print("ending …")  # what runs is ended in order, and that takes seconds
            raise
        if as_json:
            sys.stdout.write(outcome.as_json())
        _print_outcome(outcome, console)
        if node is not None:
            _print_where(outcome, orthanc, node, console)
        if keep and node is not None and node.is_alive:
            _keep_running(study, orthanc, console)
    return outcome.exit_code


def _make_phantom(folder: Path, outcome: _Outcome, console: Console) -> Path:
    from training.phantom.study import write_phantom_study

    with outcome.stage("make the phantom"), progress_bar(console, "making a phantom study") as progress:
        write_phantom_study(folder, progress=progress)
    return folder


def _study_instance_uid(folder: Path) -> str:
    """The study in the folder.  Raises ``Refused``: several-studies, and those of ``scan_outgoing``."""
    import pydicom

    files, _ = scan_outgoing(folder)
    tags = ["StudyInstanceUID"]
    found = {
        str(pydicom.dcmread(file.path, stop_before_pixels=True, specific_tags=tags).get("StudyInstanceUID", ""))
        for file in files
    }
    if len(found) > 1:
        raise Refused("several-studies", f"{folder} holds {len(found)} studies: name the folder of one study.")
    return found.pop()


def _do_main_job(study: Path, node: NodeProcess, orthanc: PrivateOrthanc, outcome: _Outcome, console: Console) -> None:
    with progress_bar(console, f"C-STORE to the node, port {node.port}") as progress:
        report = send_folder(
            study,
            "127.0.0.1",
            node.port,
            calling_aet=SENDER,
            called_aet=node.ae_title,
            progress=progress,
            dimse_timeout_s=ANSWER_WITHIN_S,
        )
    outcome.seconds["send"] = report.seconds
    print_report(replace(report, skipped=()), console)  # what is no DICOM in the folder is not the demo's affair
    with console.status("waiting for the answer in Orthanc …"):
        why_none = _wait_for_answer(node, outcome)
    if why_none:
        outcome.reason_code, outcome.reason = "no-answer", why_none
        return
    with outcome.stage("read back from Orthanc"):
        outcome.results = fetch_results(orthanc.http_url, outcome.study_instance_uid, outcome.folder / "results")
    _judge(outcome)


def _wait_for_answer(node: NodeProcess, outcome: _Outcome) -> str:
    """Wait until the node says that Orthanc confirmed, or that there is nothing to deliver; "" or why nothing comes.

    Raises ``Refused`` with the node's own reason where it refuses the study without writing a report.
    """
    ledger = Ledger(node.index_file)
    try:
        limit = time.monotonic() + ANSWER_LIMIT_S
        while time.monotonic() < limit:
            events = ledger.timeline(outcome.study_instance_uid)
            if any(event.event in DELIVERED for event in events):
                outcome.seconds |= _stages(events, node)
                return ""
            for event in events:
                if event.event == "refused" and not event.run_id:
                    code, _, reason = event.text.partition(": ")
                    raise Refused(code, reason)
                if event.event == "withheld" or event.text.startswith("failed"):
                    return f"{event.event}: {event.text}"
            if not node.is_alive:
                return f"the node ended; its log is {node.log}"
            time.sleep(0.1)
    finally:
        ledger.close()
    return f"no result within {ANSWER_LIMIT_S:.0f} s; the node's log is {node.log}"


def _stages(events: Sequence[Event], node: NodeProcess) -> dict[str, float]:
    """Seconds of each stage, from the node's story of the study and the timings of its run."""
    run_id = next(event.run_id for event in events if event.event in DELIVERED)
    at = {event.event: event.at for event in events if event.run_id == run_id}
    decided = at.get("pair-complete", at.get("refused"))
    confirmed = next(at[name] for name in DELIVERED if name in at)
    found = read_set(node.result_folder(run_id))
    between = (
        ("last slice → complete", at.get("last-slice-stored"), decided),
        ("queue", decided, at.get("analysis-started")),
        ("analysis and report", at.get("analysis-started"), at.get("analysis-ended")),
        *((f"  of it {name}", 0.0, seconds) for name, seconds in _within(found, at)),
        ("deliver", at.get("analysis-ended"), at.get("delivered")),
        ("confirm", at.get("delivered"), confirmed),
        ("last slice → confirmed", at.get("last-slice-stored"), confirmed),
    )
    return {name: end - start for name, start, end in between if start is not None and end is not None}


def _within(found: ResultSet | None, at: Mapping[str, float]) -> list[tuple[str, float]]:
    """The parts of the analysis that took time enough to be worth a line, and what the rest went into."""
    parts = found.timings_s if found else {}
    rest = at.get("analysis-ended", 0.0) - at.get("analysis-started", 0.0) - sum(parts.values())
    named = [*parts.items(), ("loading the model, report", rest)]
    return [(name, seconds) for name, seconds in named if parts and seconds >= SHORTEST_SHOWN_S]


def _judge(outcome: _Outcome) -> None:
    """Was the main job done?  By what came back, and nothing else."""
    kinds = {result.kind: result for result in outcome.results}
    if "key_image" in kinds:
        png = outcome.folder / "key_image.png"
        write_png(Path(kinds["key_image"].path), png)
        outcome.key_image = str(png)
    refused = next((result for result in outcome.results if result.refusal_code), None)
    missing = [kind for kind in WANTED if kind not in kinds]
    if refused:
        outcome.status = "refused"
        outcome.reason_code, outcome.reason = refused.refusal_code, refused.refusal_reason
    elif missing:
        there = ", ".join(kinds) or "nothing"
        outcome.reason_code = "results-missing"
        outcome.reason = f"Orthanc returned {there}, but not {', '.join(missing)}" + (
            " (no lesion was found)" if missing == ["seg"] else ""
        )
    else:
        outcome.status = "done"


def _print_outcome(outcome: _Outcome, console: Console) -> None:
    from dicom_node.report.readback.text import print_summaries

    print_summaries([result for result in outcome.results if result.kind == "sr"], console)
    if outcome.results:
        console.print(f"\nread back from Orthanc: {', '.join(result.kind for result in outcome.results)}")
    if outcome.status != "done":
        console.print(f"[red]{outcome.status}[/red] ({outcome.reason_code}): {escape(outcome.reason)}", highlight=False)
    if outcome.seconds:
        table = Table("stage", "seconds", box=None, pad_edge=False)
        table.columns[1].justify = "right"
        for name, seconds in outcome.seconds.items():
            table.add_row(name, f"{seconds:.2f}")
        console.print("", table, "", sep="\n")


def _print_where(outcome: _Outcome, orthanc: PrivateOrthanc, node: NodeProcess, console: Console) -> None:
    lines = [
        ("key image", outcome.key_image),
        ("results", str(outcome.folder / "results") if outcome.results else ""),
        ("Orthanc", f"{orthanc.http_url}/app/explorer.html   DICOM port {orthanc.dicom_port}, AE title {orthanc.aet}"),
        ("node", f"DICOM port {node.port}, AE title {node.ae_title}"),
        ("logs", f"{node.log}, {orthanc.log}"),
    ]
    for name, value in lines:
        if value:
            console.print(f"[bold]{name:10}[/bold] {escape(value)}", highlight=False, soft_wrap=True)


def _keep_running(study: Path | None, orthanc: PrivateOrthanc, console: Console) -> None:
    """Give Orthanc the images too, as an archive would have them, and wait for Ctrl-C."""
    if study is not None:
        send_folder(study, "127.0.0.1", orthanc.dicom_port, calling_aet=SENDER, called_aet=orthanc.aet)
    console.print("Orthanc and the node go on running. Ctrl-C ends both.")
    try:
        while True:
            time.sleep(3600.0)
    except KeyboardInterrupt:
        console.print("ending …")


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Whoever ends us ends what we started."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

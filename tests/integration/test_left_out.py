"""An archive that does not take every kind of object: the others get there, and it is said what does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import UID
from pynetdicom import AE, evt
from typer.testing import CliRunner

from dicom_node.cli import app
from dicom_node.config import Settings
from dicom_node.deliver import Receipt, Undelivered, confirm, deliver
from dicom_node.demo.orthanc_process import PrivateOrthanc, free_port
from dicom_node.report import write, write_results
from dicom_node.sections import DimseDestination, OrthancDestination
from dicom_node.steps import Steps
from dicom_node.work.analyst import Analyst
from dicom_node.work.result_set import ResultSet, publish
from inference.facts import Result
from tests.report_case import RUN, make_analysis
from tests.site import Site
from tests.studies import STUDY, ct, pet

AET = "PETCTNODE"
LABEL_MAP, SEG, PDF = "1.2.840.10008.5.1.4.1.1.66.7", "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.104.1"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, ...]:
    """Every object that there is."""
    folder = tmp_path_factory.mktemp("left-out")
    return write_results(make_analysis(folder), replace(RUN, also=tuple(write.OPTIONAL)), folder / "results")


@dataclass
class Archive:
    """What it has been offered, object by object, in how many associations; ``answer``: its status, by SOP class."""

    answer: Callable[[str], int]
    stored: list[str] = field(default_factory=list)
    pixels: dict[str, bytes] = field(default_factory=dict)
    associations: int = 0

    def handle(self, event: Any) -> int:
        status = self.answer(str(event.request.AffectedSOPClassUID))
        if status == 0:
            self.stored.append(str(event.request.AffectedSOPInstanceUID))
            self.pixels[self.stored[-1]] = event.dataset.get("PixelData", b"")
        return status

    def count(self, _: Any) -> None:
        self.associations += 1


@contextmanager
def archive(
    port: int,
    results: Sequence[Result],
    without: str = "",
    answer: Callable[[str], int] = lambda _: 0,
    syntaxes: Sequence[str] = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.5"),
) -> Iterator[Archive]:
    """One that negotiates all classes of ``results`` but ``without``, and answers no C-FIND."""
    found = Archive(answer)
    entity = AE("ARCHIVE")
    for sop_class in {r.sop_class_uid for r in results} - {without}:
        entity.add_supported_context(UID(sop_class), list(map(UID, syntaxes)))
    handlers = [(evt.EVT_C_STORE, found.handle), (evt.EVT_ESTABLISHED, found.count)]
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
    try:
        yield found
    finally:
        server.shutdown()


def destination(port: int) -> DimseDestination:
    return DimseDestination(name="archive", host="127.0.0.1", port=port, ae_title="ARCHIVE", timeout_s=5)


def patiently(act: Callable[[], str]) -> str:
    """As the workflow does: on a busy machine pynetdicom's two threads may lose an answer between them."""
    said = act()
    for _ in range(9):
        if "no answer" not in said and "broke off" not in said:
            break
        said = act()
    return said


def delivered(results: Sequence[Result], port: int) -> tuple[Receipt, ...]:
    """Raises Undelivered where something else than a lost answer is in the way."""
    found: list[tuple[Receipt, ...]] = []

    def once() -> str:
        try:
            found.append(deliver(results, destination(port), AET))
        except Undelivered as undelivered:
            lost.append(undelivered)
            return undelivered.reason
        return ""

    lost: list[Undelivered] = []
    if patiently(once):
        raise lost[-1]
    return found[-1]


def uids(results: Sequence[Result], *without: str) -> set[str]:
    return {r.sop_instance_uid for r in results if r.kind not in without}


def test_all_kinds_go_in_one_association(results: tuple[Result, ...]) -> None:
    port = free_port()
    with archive(port, results) as there:
        receipts = delivered(results, port)
    assert all(r.taken for r in receipts)
    assert set(there.stored) == uids(results)
    assert there.associations <= 1 + there.stored.count(there.stored[0])  # one a try, and the knock before


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])
def test_an_archive_that_takes_nothing_compressed_gets_the_same_pixels(
    syntax: str, results: tuple[Result, ...]
) -> None:
    port = free_port()
    with archive(port, results, syntaxes=[syntax]) as there:
        assert all(r.taken for r in delivered(results, port))
    assert set(there.stored) == uids(results)
    (heatmap,) = [r for r in results if r.kind == "heatmap"]
    written = pydicom.dcmread(heatmap.path)
    assert written.file_meta.TransferSyntaxUID.is_compressed
    assert there.pixels[heatmap.sop_instance_uid] == written.pixel_array.tobytes()


@pytest.mark.parametrize(("without", "status"), [(LABEL_MAP, 0), ("", 0x0122), ("", 0xA900), ("", 0xC000)], ids=str)
def test_an_optional_object_that_it_never_takes_is_left_out_and_the_rest_is_there(
    without: str, status: int, results: tuple[Result, ...]
) -> None:
    port = free_port()
    with archive(port, results, without, lambda sop_class: status if sop_class == LABEL_MAP else 0) as there:
        receipts = delivered(results, port)
    assert [r.kind for r in receipts if not r.taken] == ["label_map"]
    assert set(there.stored) == uids(results, "label_map")
    (said,) = [r.how for r in receipts if not r.taken]
    assert ("it accepts no" if without else f"0x{status:04X}") in said


@pytest.mark.parametrize(
    ("kind", "without", "status"),
    [("seg", SEG, 0), ("seg", "", 0xC000), ("pdf", "", 0xA700)],
    ids=["a default class", "a default object", "no room"],
)
def test_what_it_must_take_or_may_take_later_is_waited_for_but_keeps_nothing_back(
    kind: str, without: str, status: int, results: tuple[Result, ...]
) -> None:
    refused = {"seg": SEG, "pdf": PDF}[kind]
    port = free_port()
    with (
        archive(port, results, without, lambda sop_class: status if sop_class == refused else 0) as there,
        pytest.raises(Undelivered, match=f"did not take the {kind} object") as caught,
    ):
        delivered(results, port)
    assert set(there.stored) == uids(results, kind) == {r.sop_instance_uid for r in caught.value.receipts}


@pytest.fixture
def site(tmp_path: Path, results: tuple[Result, ...]) -> Iterator[tuple[Site, Steps, str, int]]:
    """A node with a run whose results are ``results``; where it delivers to, nobody listens yet."""
    port = free_port()
    to = destination(port).model_dump()
    made = Site(Settings(node={"data_dir": tmp_path}, deliver={"destinations": [to]}))
    made.arrive([*pet(), *ct()], at=100.0)
    for now in (100.1, 101.0):
        made.coordinator.tick(now)
    (run_id,) = made.runs()
    folder = tmp_path / "written"
    folder.mkdir()
    for result in results:
        (folder / result.path.name).write_bytes(result.path.read_bytes())
    settings = made.settings
    settings.results_dir.mkdir(parents=True, exist_ok=True)
    publish(folder, settings.results_dir / run_id, ResultSet("done", "", "", True, results))
    yield made, Steps(settings, Analyst(settings)), run_id, port
    made.close()


def test_the_delivery_ends_and_the_story_says_what_is_not_there(
    site: tuple[Site, Steps, str, int], results: tuple[Result, ...], tmp_path: Path
) -> None:
    node, steps, run_id, port = site
    assert steps.destinations(run_id) == ["archive"]
    with archive(port, results, LABEL_MAP) as there:
        assert patiently(lambda: steps.deliver(run_id, "archive")) == ""
        assert steps.confirm(run_id, "archive") == ""
        assert (steps.deliver(run_id, "archive"), steps.confirm(run_id, "archive")) == ("", "")
    assert set(there.stored) == uids(results, "label_map")
    (delivery,) = node.ledger.deliveries(run_id)
    assert delivery.state == "confirmed"
    assert "does not take: label_map (it accepts no " in delivery.reason
    assert [e.text for e in node.ledger.timeline(STUDY) if e.event == "left-out"] == [delivery.reason]
    config = tmp_path / "node.toml"
    config.write_text(f"[node]\ndata_dir = '{tmp_path}'\n")
    told = CliRunner().invoke(app, ["explain", STUDY, "--config", str(config)]).output
    assert f"confirmed, {len(results) - 1} of {len(results)} objects confirmed" in told
    assert "label_map" in told.partition("objects confirmed")[2]
    captures = [line for line in told.splitlines() if line.startswith("  captures ")]
    assert len(captures) == 1, "one line for a series of many"
    assert f"and {sum(r.kind == 'captures' for r in results) - 1} more of its series" in captures[0]


def test_only_what_is_lacking_goes_again(site: tuple[Site, Steps, str, int], results: tuple[Result, ...]) -> None:
    node, steps, run_id, port = site
    steps.destinations(run_id)
    assert "archive" in steps.deliver(run_id, "archive")  # nobody listens
    with archive(port, results, SEG):
        assert "did not take the seg object" in patiently(lambda: steps.deliver(run_id, "archive"))
        assert "none of the object types offered (seg)" in steps.deliver(run_id, "archive")
    with archive(port, results) as mended:
        assert patiently(lambda: steps.deliver(run_id, "archive")) == ""
        assert steps.confirm(run_id, "archive") == ""
    assert set(mended.stored) == {r.sop_instance_uid for r in results if r.kind == "seg"}
    (delivery,) = node.ledger.deliveries(run_id)
    assert (delivery.state, delivery.reason) == ("confirmed", "")


class Choosy(PrivateOrthanc):
    """An Orthanc whose site drops encapsulated documents."""

    def _configuration(self) -> dict[str, object]:
        script = self.folder / "filter.lua"
        text = "function ReceivedInstanceFilter(dicom, origin, info)\n  return dicom.Modality ~= 'DOC'\nend\n"
        script.write_text(text)
        return super()._configuration() | {"LuaScripts": [str(script)]}


@pytest.mark.peers
def test_orthanc_may_drop_what_its_site_does_not_want(results: tuple[Result, ...], tmp_path: Path) -> None:
    with Choosy(tmp_path / "orthanc") as orthanc:
        rest = OrthancDestination(name="rest", url=orthanc.http_url, timeout_s=20)
        receipts = deliver(results, rest, AET)
        assert [(r.kind, r.how) for r in receipts if not r.taken] == [("pdf", "answered FilteredOut")]
        kept = [r for r in results if r.kind != "pdf"]
        assert all(r.same for r in confirm(kept, rest, AET, by_status=False))


@pytest.mark.peers
@pytest.mark.parametrize("kind", ["pdf", "heatmap"])
def test_what_orthanc_cannot_read_keeps_nothing_else_from_it(
    kind: str, results: tuple[Result, ...], tmp_path: Path
) -> None:
    junk = tmp_path / "junk.dcm"
    junk.write_bytes(b"\0" * 128 + b"DICM" + b"junk" * 100)
    broken = [replace(r, path=junk) if r.kind == kind else r for r in results]
    kept = [r for r in results if r.kind != kind]
    with PrivateOrthanc(tmp_path / "orthanc") as orthanc:
        rest = OrthancDestination(name="rest", url=orthanc.http_url, timeout_s=20)
        if kind == "pdf":
            assert [r.how for r in deliver(broken, rest, AET) if not r.taken] == ["answered HTTP 400"]
        else:
            with pytest.raises(Undelivered, match="rest did not take the heatmap object: answered HTTP 400"):
                deliver(broken, rest, AET)
        assert all(r.same for r in confirm(kept, rest, AET, by_status=False))

"""The conformance statement against the wire and against objects of a real patient's study."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import UID
from pynetdicom import AE, _config, evt
from pynetdicom.presentation import build_context

from deploy.conformance.attributes import paths, tag_text, texts, triplet
from dicom_node.deliver import Undelivered, deliver
from dicom_node.report import write, write_results
from dicom_node.sections import DimseDestination
from inference.facts import Result
from tests import statement
from tests.integration.test_receive import ECHOSCU, Receivers, dcmtk, receivers
from tests.made_series import CT_IMAGE, ct_image
from tests.report_case import RUN, real_analysis

pytestmark = pytest.mark.peers
EXPLICIT = "1.2.840.10008.1.2.1"
MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receivers]:
    with receivers(tmp_path_factory.mktemp("node")) as running:
        yield running


@pytest.fixture(scope="module")
def results(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, ...]:
    """Every object we can write of the real study."""
    study = shared_data / "study_sts_001"
    analysis = real_analysis(study / "pet_bqml", study / "ct", study / "rtstruct_ct.dcm")
    # an automatic lesion, so that all kinds are written
    analysis = replace(analysis, lesions=tuple(replace(lesion, source="automatic") for lesion in analysis.lesions))
    run = replace(RUN, also=tuple(write.OPTIONAL))
    return write_results(analysis, run, tmp_path_factory.mktemp("results"))


def parameters(marker: str) -> dict[str, str]:
    return {row["Parameter"]: row["Value"] for row in statement.rows(statement.between(marker))}


def syntaxes(letter: str) -> list[str]:
    table = statement.rows(statement.between("transfer-syntaxes"))
    return [row["UID"] for row in table if letter in row["Sets"].split(", ")]


@contextmanager
def associated(port: int, *offers: tuple[str, str], calling: str = "PEER", called: str = "PETCTNODE") -> Iterator[Any]:
    contexts = [build_context(UID(uid), UID(syntax)) for uid, syntax in offers]
    opened = AE(calling).associate("127.0.0.1", port, contexts=contexts, ae_title=called)
    try:
        yield opened
    finally:
        if opened.is_established:
            opened.release()


def test_the_node_accepts_the_contexts_it_states_and_no_others(node: Receivers) -> None:
    for row in statement.rows(statement.between("contexts-accepted")):
        uid = row["UID"]
        stated = syntaxes("R") if row["Transfer syntaxes"] == "set R" else [EXPLICIT]
        with associated(node.port, *((uid, syntax) for syntax in stated), (MR_IMAGE, EXPLICIT)) as peer:
            accepted = {(str(c.abstract_syntax), str(c.transfer_syntax[0])) for c in peer.accepted_contexts}
            assert accepted == {(uid, syntax) for syntax in stated}


def test_of_several_transfer_syntaxes_the_first_of_our_table_is_taken(node: Receivers) -> None:
    stated = syntaxes("R")
    peer = AE("PEER").associate(
        "127.0.0.1", node.port, contexts=[build_context(CT_IMAGE, stated[::-1])], ae_title="PETCTNODE"
    )
    taken = [str(context.transfer_syntax[0]) for context in peer.accepted_contexts]
    peer.release()
    assert taken == stated[:1]


def test_dcmtk_sees_the_identity_and_the_pdu_size_that_are_stated(node: Receivers) -> None:
    said = dcmtk(ECHOSCU, "-d", "-aec", "PETCTNODE", "127.0.0.1", str(node.port))
    assert said.returncode == 0
    stated = parameters("acceptor")
    answer = (said.stdout + said.stderr).split("BEGIN A-ASSOCIATE-AC")[-1]  # before it stands the proposal
    assert re.search(r"Their Implementation Class UID:\s+(\S+)", answer)[1] == stated["Implementation Class UID"]
    assert re.search(r"Their Implementation Version Name:\s+(\S+)", answer)[1] == stated["Implementation Version Name"]
    assert re.search(r"Their Max PDU Receive Size:\s+(\d+)", answer)[1] in stated["Maximum PDU length we receive"]


def test_associations_are_rejected_as_stated(tmp_path: Path) -> None:
    stated = [tuple(int(row[key].split()[0]) for key in ("Result", "Source", "Reason")) for row in _rejections()]
    seen = []
    one = (CT_IMAGE, EXPLICIT)
    for name in ("guarded", "small"):
        (tmp_path / name).mkdir()
    with receivers(tmp_path / "guarded", peers=[{"ae_title": "PEER"}]) as node:
        with associated(node.port, one, calling="STRANGER") as peer:
            seen.append(_rejection(peer))
        with associated(node.port, one, called="ANOTHER") as peer:
            seen.append(_rejection(peer))
    with (
        receivers(tmp_path / "small", max_associations=1) as node,
        associated(node.port, one) as first,
        associated(node.port, one) as second,
    ):
        assert first.is_established
        seen.append(_rejection(second))
    assert seen == stated


def _rejections() -> list[statement.Row]:
    return statement.rows(statement.between("rejections"))


def _rejection(peer: Any) -> tuple[int, int, int]:
    assert peer.is_rejected
    answer = peer.acceptor.primitive
    return answer.result, answer.result_source, answer.diagnostic


def test_c_store_is_answered_with_the_statuses_stated(
    node: Receivers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)  # the command says what the file meta says
    stated = {int(row["Status"], 16) for row in statement.rows(statement.between("statuses-given"))}
    good, misnamed, nowhere = (ct_image(number) for number in range(3))
    misnamed.file_meta.MediaStorageSOPInstanceUID = "1.2.3.998"  # what the command will say
    del nowhere.StudyInstanceUID
    seen = {_store(node.port, image, tmp_path / "one.dcm") for image in (good, good, misnamed, nowhere)}
    with receivers(tmp_path, disk_reserve_mb=1 << 40) as full:
        seen.add(_store(full.port, good, tmp_path / "one.dcm"))
    assert seen == stated == {0x0000, 0xA700, 0xA900, 0xC000}


def _store(port: int, image: pydicom.Dataset, path: Path) -> int:
    image.preamble = bytes(128)
    image.save_as(path)  # the file meta information as it is
    with associated(port, (CT_IMAGE, EXPLICIT)) as peer:
        return int(peer.send_c_store(path).Status)


@contextmanager
def archive(status: int, offered: list[tuple[str, str]], requestors: list[Any]) -> Iterator[int]:
    """An archive that accepts everything and answers every C-STORE with ``status``."""
    entity = AE("ARCHIVE")
    for row in statement.rows(statement.between("contexts-proposed")):
        entity.add_supported_context(UID(row["UID"]), [UID(syntax) for syntax in (*syntaxes("R"), *syntaxes("S"))])

    def requested(event: Any) -> None:
        requestors.append(event.assoc.requestor)
        for context in event.assoc.requestor.primitive.presentation_context_definition_list:
            offered.extend((str(context.abstract_syntax), str(syntax)) for syntax in context.transfer_syntax)

    handlers = [(evt.EVT_REQUESTED, requested), (evt.EVT_C_STORE, lambda _: status)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def destination(port: int) -> DimseDestination:
    return DimseDestination(name="archive", host="127.0.0.1", port=port, ae_title="ARCHIVE", timeout_s=20)


def test_a_delivery_proposes_what_is_stated(results: tuple[Result, ...]) -> None:
    table = statement.rows(statement.between("contexts-proposed"))
    stated = {(row["UID"], row["Transfer syntax"].split("`")[-1]) for row in table if "1.1." in row["UID"][18:]}
    offered: list[tuple[str, str]] = []
    requestors: list[Any] = []
    with archive(0x0000, offered, requestors) as port:
        assert len(deliver(results, destination(port), "PETCTNODE")) == len(results)
    assert len(offered) == len(set(offered))
    assert set(offered) == stated
    initiator = parameters("initiator")
    assert str(requestors[0].implementation_class_uid) == initiator["Implementation Class UID"]
    assert requestors[0].implementation_version_name == initiator["Implementation Version Name"]
    assert str(requestors[0].maximum_length) in initiator["Maximum PDU length we receive"]


def test_we_react_to_statuses_as_stated(results: tuple[Result, ...]) -> None:
    small = [result for result in results if result.kind == "sr"]
    table = statement.rows(statement.between("statuses-taken"))
    stored = [int(text, 16) for row in table[:2] for text in re.findall(r"\b[0-9A-F]{4}\b", row["Status"])]
    assert len(stored) == 4
    for status in (*stored, 0xA700, 0xC000, 0x0122):
        with archive(status, [], []) as port:
            if status in stored:
                assert deliver(small, destination(port), "PETCTNODE")
            else:
                with pytest.raises(Undelivered, match=f"0x{status:04X}"):
                    deliver(small, destination(port), "PETCTNODE")


@pytest.mark.data
def test_every_attribute_of_the_real_study_s_results_is_listed(results: tuple[Result, ...]) -> None:
    assert {result.kind for result in results} == {*write.DEFAULT, *write.OPTIONAL}
    common = statement.rows(statement.between("common-attributes"))
    each = statement.sections("attributes")
    for result in results:
        listed = statement.attribute_paths(common) | statement.attribute_paths(each[result.kind])
        top = pydicom.dcmread(result.path)
        for keywords, element in paths(top):
            path = tuple(tag_text(pydicom.datadict.tag_for_keyword(keyword)) for keyword in keywords)
            assert path in listed, (result.kind, keywords)
            row = listed[path]
            assert row["VR"] == element.VR, (result.kind, keywords)
            if row["Source"] == "FIXED" and "…" not in row["Value"]:
                allowed = row["Value"].split(" or ")
                assert all(" ".join(text.split()) in allowed for text in texts(element)), (result.kind, keywords)


@pytest.mark.data
def test_no_attribute_stated_as_always_there_is_missing(results: tuple[Result, ...]) -> None:
    common = statement.rows(statement.between("common-attributes"))
    each = statement.sections("attributes")
    for result in results:
        top = pydicom.dcmread(result.path)
        for row in (*common, *each[result.kind]):
            if row["Presence"] == "ALWAYS" and ">" not in row["Attribute"]:
                assert row["Tag"].strip("()").replace(",", "") in {f"{e.tag:08X}" for e in top}, (result.kind, row)


@pytest.mark.data
def test_every_content_item_of_the_real_study_s_reports_is_listed(results: tuple[Result, ...]) -> None:
    trees = statement.sections("content-trees")
    for result in results:
        if result.kind not in trees:
            continue
        listed = {(row["Value type"], row["Concept name"]) for row in trees[result.kind]}
        model = {row["Concept name"] for row in trees[result.kind] if row["Concept name"].startswith("the model's")}
        pending = [pydicom.dcmread(result.path)]
        while pending:
            item = pending.pop()
            pending.extend(item.get("ContentSequence") or [])
            name = triplet(item.ConceptNameCodeSequence[0]) if "ConceptNameCodeSequence" in item else ""
            own = name.startswith("(DEMO-") and model
            assert own or (item.ValueType, name) in listed, (result.kind, item.ValueType, name)

"""The decoder: what it takes, what it leaves, how it keeps within its space, and how it starts anew."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from pydicom.encaps import encapsulate

from dicom_node.config import Settings
from dicom_node.decode import Decoder
from dicom_node.index import Arrival, Index
from dicom_node.ledger import Ledger
from dicom_node.node import _Supervisor
from dicom_node.work.job import Work
from inference.facts import Instance, Refused
from inference.reading.decoded import folder_of_study, with_decoded
from inference.reading.instance import read_instance
from tests.arrivals import write_jpeg_2000
from tests.made_series import write_ct_series

EDGE = 16
SLICE_BYTES = EDGE * EDGE * 2
LIMIT_S = 20.0
DIGEST = "b" * 64


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(node={"data_dir": tmp_path / "data"}, receive={"disk_reserve_mb": 0})


@pytest.fixture
def index(settings: Settings) -> Iterator[Index]:
    settings.node.data_dir.mkdir()
    opened = Index(settings.index_file)
    yield opened
    opened.close()


@pytest.fixture
def ledger(settings: Settings, index: Index) -> Iterator[Ledger]:
    opened = Ledger(settings.index_file)
    yield opened
    opened.close()


@pytest.fixture
def make_decoder() -> Iterator[Callable[[Settings], Decoder]]:
    made: list[Decoder] = []

    def make(settings: Settings) -> Decoder:
        made.append(Decoder(settings))
        return made[-1]

    yield make
    for decoder in made:
        decoder.close()


def series(tmp_path: Path, number: int = 1, count: int = 3) -> list[Instance]:
    """JPEG 2000 slices of one study."""
    plain, packed = tmp_path / f"plain-{number}", tmp_path / f"packed-{number}"
    write_ct_series(plain, count, study=f"1.2.3.{number}", series=f"1.2.3.{number}.1")
    write_jpeg_2000(plain, packed)
    return [read_instance(path) for path in sorted(packed.iterdir())]


def arrive(index: Index, instances: Sequence[Instance]) -> None:
    index.add([Arrival(instance, time.time()) for instance in instances])


def run_until(decoder: Decoder, what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not what():
        assert time.monotonic() < deadline
        decoder.tick()


def is_idle(decoder: Decoder) -> bool:
    """Nothing under way, nothing waiting, after another look at the index."""
    decoder.tick()
    return decoder.is_idle


def ready(settings: Settings, instances: Sequence[Instance]) -> int:
    return sum(bool(with_decoded(instance, settings.decoded_dir).pixel_path) for instance in instances)


def test_what_arrives_is_decoded_batch_after_batch(
    settings: Settings, index: Index, make_decoder: Callable[[Settings], Decoder], tmp_path: Path
) -> None:
    instances = series(tmp_path, count=6)
    decoder = make_decoder(settings)
    for batch in (instances[:4], instances[4:]):
        arrive(index, batch)
        run_until(decoder, lambda batch=batch: ready(settings, batch) == len(batch))
    run_until(decoder, lambda: is_idle(decoder))
    assert ready(settings, instances) == 6


def test_only_pet_and_ct_are_decoded(
    settings: Settings, index: Index, make_decoder: Callable[[Settings], Decoder], tmp_path: Path
) -> None:
    ct, seg = series(tmp_path, count=2)
    seg = replace(seg, sop_class_uid="1.2.840.10008.5.1.4.1.1.66.4")
    plain = read_instance(write_ct_series(tmp_path / "plain", 1, study="1.2.3.7", series="1.2.3.7.1")[0])
    decoder = make_decoder(settings)
    arrive(index, [seg, plain, ct])
    run_until(decoder, lambda: ready(settings, [ct]) == 1)
    run_until(decoder, lambda: is_idle(decoder))
    assert ready(settings, [seg, plain]) == 0


def test_what_cannot_be_decoded_is_left_and_the_rest_goes_on(
    settings: Settings, index: Index, make_decoder: Callable[[Settings], Decoder], tmp_path: Path
) -> None:
    instances = series(tmp_path)
    ds = pydicom.dcmread(instances[0].path)
    ds.PixelData = encapsulate([b"no codestream"])
    ds.save_as(instances[0].path)
    decoder = make_decoder(settings)
    arrive(index, instances)
    run_until(decoder, lambda: ready(settings, instances) == 2)
    run_until(decoder, lambda: is_idle(decoder))
    assert ready(settings, instances[:1]) == 0


def test_the_files_of_a_decided_study_go_and_those_of_another_stay(
    settings: Settings, index: Index, ledger: Ledger, make_decoder: Callable[[Settings], Decoder], tmp_path: Path
) -> None:
    first, second = series(tmp_path, 1), series(tmp_path, 2)
    decoder = make_decoder(settings)
    arrive(index, [*first, *second])
    run_until(decoder, lambda: ready(settings, [*first, *second]) == 6)
    settle(ledger, index, first)
    run_until(decoder, lambda: ready(settings, first) == 0)
    assert ready(settings, second) == 3
    assert [folder.name for folder in settings.decoded_dir.iterdir()] == [folder_of_study("1.2.3.2")]


def settle(ledger: Ledger, index: Index, instances: Sequence[Instance]) -> None:
    """Decided, without a run: as for a CT alone."""
    study = instances[0].study_instance_uid
    ledger.settle(study, index.arrived(study))


def test_the_files_stay_while_the_run_is_queued(
    settings: Settings, index: Index, ledger: Ledger, make_decoder: Callable[[Settings], Decoder], tmp_path: Path
) -> None:
    instances = series(tmp_path)
    decoder = make_decoder(settings)
    arrive(index, instances)
    work = Work.of_refusal(instances, Refused("no-pet", "No PET."), DIGEST)
    ledger.decide(work.study_instance_uid, [work], time.time())
    settle(ledger, index, instances)
    run_until(decoder, lambda: ready(settings, instances) == 3)
    decoder.tidy()
    assert ready(settings, instances) == 3
    ledger.finish(work.run_id, "done")
    decoder.tidy()
    assert ready(settings, instances) == 0


def test_what_is_being_analysed_is_left_to_the_analysis(
    settings: Settings, index: Index, ledger: Ledger, make_decoder: Callable[[Settings], Decoder], tmp_path: Path
) -> None:
    instances = series(tmp_path)
    arrive(index, instances)
    work = Work.of_refusal(instances, Refused("no-pet", "No PET."), DIGEST)
    ledger.decide(work.study_instance_uid, [work], time.time())
    ledger.begin(work.run_id, "20260101120000.000000+0000")
    decoder = make_decoder(settings)
    run_until(decoder, lambda: is_idle(decoder))
    assert ready(settings, instances) == 0


def test_the_study_that_has_waited_longest_makes_room(
    settings: Settings, index: Index, make_decoder: Callable[[Settings], Decoder], tmp_path: Path
) -> None:
    first, second, third = (series(tmp_path, number) for number in (1, 2, 3))
    decoder = make_decoder(settings)
    decoder.limit = 7 * SLICE_BYTES
    for study in (first, second, third):
        arrive(index, study)
        run_until(decoder, lambda study=study: ready(settings, study) == 3)
    assert [ready(settings, study) for study in (first, second, third)] == [0, 3, 3]


def test_a_study_larger_than_the_space_is_decoded_as_far_as_it_goes(
    settings: Settings, index: Index, make_decoder: Callable[[Settings], Decoder], tmp_path: Path
) -> None:
    instances = series(tmp_path, count=5)
    decoder = make_decoder(settings)
    decoder.limit = 3 * SLICE_BYTES
    arrive(index, instances)
    run_until(decoder, lambda: is_idle(decoder))
    assert 1 <= ready(settings, instances) <= 3


def test_a_disk_near_its_reserve_belongs_to_the_receivers(
    settings: Settings, index: Index, make_decoder: Callable[[Settings], Decoder], tmp_path: Path
) -> None:
    instances = series(tmp_path)
    arrive(index, instances)
    decoder = make_decoder(settings)
    run_until(decoder, lambda: ready(settings, instances) == 3)
    full = settings.model_copy(update={"receive": settings.receive.model_copy(update={"disk_reserve_mb": 1 << 40})})
    decoder = make_decoder(full)
    run_until(decoder, lambda: is_idle(decoder))
    assert ready(settings, instances) == 0


def test_a_successor_goes_on_and_clears_up(
    settings: Settings, index: Index, ledger: Ledger, make_decoder: Callable[[Settings], Decoder], tmp_path: Path
) -> None:
    waiting, decided = series(tmp_path, 1), series(tmp_path, 2)
    decoder = make_decoder(settings)
    arrive(index, [*waiting[:2], *decided])
    run_until(decoder, lambda: ready(settings, [*waiting[:2], *decided]) == 5)
    decoder.close()
    settle(ledger, index, decided)
    arrive(index, waiting[2:])
    successor = make_decoder(settings)
    run_until(successor, lambda: ready(settings, waiting) == 3)
    run_until(successor, lambda: is_idle(successor))
    assert ready(settings, decided) == 0


def test_without_space_there_is_no_decoder(settings: Settings) -> None:
    names = []
    for space in (1, 0):
        given = settings.model_copy(update={"receive": settings.receive.model_copy(update={"decoded_mb": space})})
        supervisor = _Supervisor(given, ("decode",), {})
        supervisor._appoint()
        names.append([post.name for post in supervisor.posts])
    assert names == [["decoder"], []]


def test_it_ends_when_it_is_told(settings: Settings, index: Index, make_decoder: Callable[[Settings], Decoder]) -> None:
    stop = threading.Event()
    running = threading.Thread(target=make_decoder(settings).run, args=(stop,))
    running.start()
    stop.set()
    running.join(LIMIT_S)
    assert not running.is_alive()

"""Which series are taken, which are left out, and why."""

from __future__ import annotations

import pytest

from dicom_node.assemble.selection import select
from inference.facts import Instance, Refused
from tests.images import CT_IMAGE, PET_IMAGE
from tests.studies import ct, one, pet, rtstruct, seg


def series_of(instances: tuple[Instance, ...]) -> set[int]:
    return {int(i.attributes["SeriesNumber"]) for i in instances}


def left_out(instances: list[Instance]) -> dict[str, str]:
    return {c.series_instance_uid.rsplit(".", 1)[1]: c.code for c in select(instances).choices if not c.chosen}


def refusal(instances: list[Instance]) -> Refused:
    with pytest.raises(Refused) as caught:
        select(instances)
    return caught.value


def test_the_corrected_pet_and_its_ct_are_taken() -> None:
    chosen = select([*ct(), *pet()])
    assert (series_of(chosen.pet), series_of(chosen.ct)) == ({1}, {2})
    assert len(chosen.pet) == len(chosen.ct) == 8


@pytest.mark.parametrize(
    ("extra", "code"),
    [
        (pet(series=9, CorrectedImage=["DECY", "NORM"]), "pet-not-attenuation-corrected"),
        (pet(series=9, CorrectedImage=...), "pet-not-attenuation-corrected"),
        (pet(series=9, SeriesType=["DYNAMIC", "IMAGE"]), "pet-not-static"),
        (pet(series=9, SeriesType=["GATED", "IMAGE"]), "pet-not-static"),
        (pet(series=9, SeriesType=["WHOLE BODY", "REPROJECTION"]), "pet-reprojection"),
        (pet(series=9, CountsSource="TRANSMISSION"), "pet-transmission"),
        (pet(series=9, ImageType=["DERIVED", "SECONDARY", "MIP"]), "not-slices"),
        (pet(series=9, ImageType=["DERIVED", "PRIMARY"]), "derived"),
        (pet(series=9, Units="GML", SUVType="BW"), "already-normalised"),
        (ct(series=9, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "localizer"),
        (ct(series=9, ImageType=["DERIVED", "SECONDARY", "SCREEN SAVE"]), "not-slices"),
        (ct(series=9, FrameOfReferenceUID="9.9"), "frame-of-reference-differs"),
        (ct(series=9, slices=5), "another-ct"),
        (ct(series=9, ImageType=["DERIVED", "PRIMARY", "AXIAL"]), "another-ct"),
        (ct(series=9, ImageOrientationPatient=[1.0, 0.0, 0.0, 0.0, 0.0, -1.0]), "another-plane"),
        ([one("1.2.840.10008.5.1.4.1.1.7", 9, 1)], "not-pet-or-ct"),
        (pet(series=9, ManufacturerModelName="petct-node"), "own-object"),
        ([seg(9, ManufacturerModelName="petct-node")], "own-object"),
        ([seg(9, "AUTOMATIC")], "automatic-region"),
        ([rtstruct(9, "AUTOMATIC")], "automatic-region"),
        ([rtstruct(9, frame="9.9")], "frame-of-reference-differs"),
    ],
)
def test_everything_else_is_left_out_with_its_reason(extra: list[Instance], code: str) -> None:
    instances = [*extra, *ct(), *pet()]
    chosen = select(instances)
    assert (series_of(chosen.pet), series_of(chosen.ct), chosen.region) == ({1}, {2}, None)
    assert left_out(instances) == {"9": code}


@pytest.mark.parametrize(
    ("pets", "code"),
    [
        ([], "no-pet"),
        (pet(CorrectedImage=["DECY"]), "pet-not-attenuation-corrected"),
        (pet(SeriesType=["DYNAMIC", "IMAGE"]), "pet-not-static"),
        ([one("1.2.840.10008.5.1.4.1.1.128.1", 1, 0)], "multiframe-unsupported"),
        (pet(FrameOfReferenceUID=...), "frame-of-reference-missing"),
        ([*pet(4), *pet(4, series=9, start_mm=12.0)], "pet-in-several-series"),
    ],
)
def test_without_a_usable_pet_the_reason_is_named(pets: list[Instance], code: str) -> None:
    refused = refusal([*pets, *ct()])
    assert refused.code == code
    assert refused.facts["choices"] or code in ("no-pet", "frame-of-reference-missing", "pet-in-several-series")


@pytest.mark.parametrize(
    ("cts", "code"),
    [
        ([], "no-ct"),
        (ct(FrameOfReferenceUID="9.9"), "frame-of-reference-differs"),
        (ct(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "no-ct"),
        ([one("1.2.840.10008.5.1.4.1.1.2.1", 2, 0)], "multiframe-unsupported"),
    ],
)
def test_without_a_usable_ct_the_reason_is_named(cts: list[Instance], code: str) -> None:
    assert refusal([*cts, *pet()]).code == code


def test_a_derived_pet_is_taken_where_it_is_the_only_one() -> None:
    chosen = select([*ct(), *pet(ImageType=["DERIVED", "SECONDARY"], Units="GML")])
    assert series_of(chosen.pet) == {1}


def test_of_two_reconstructions_one_is_taken_and_that_is_said() -> None:
    chosen = select([*ct(), *pet(series=5), *pet(series=1)])
    assert series_of(chosen.pet) == {1}
    assert [c.code for c in chosen.cautions] == ["several-pet-series"]


def test_a_localizer_among_the_slices_is_left_out() -> None:
    scout = one(CT_IMAGE, 2, 99, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], FrameOfReferenceUID="1.2.3.4")
    chosen = select([scout, *ct(), *pet()])
    assert scout not in chosen.ct
    assert len(chosen.ct) == 8


def test_the_ct_that_covers_the_pet_is_better_than_an_original_that_does_not() -> None:
    short, long = ct(series=2, slices=3), ct(series=9, slices=12, ImageType=["DERIVED", "PRIMARY", "AXIAL"])
    assert series_of(select([*short, *long, *pet(slices=12)]).ct) == {9}


TURNED = [1.0, 0.0, 0.0, 0.0, -1.0, 0.0]  # prone, say: the slices' normal points to the feet


def test_extents_are_compared_along_one_direction() -> None:
    """A CT or PET whose normal points the other way covers the same heights."""
    short, long = ct(series=2, slices=3), ct(series=9, slices=12, ImageOrientationPatient=TURNED)
    assert series_of(select([*short, *long, *pet(slices=12)]).ct) == {9}
    turned, straight = pet(series=5, start_mm=40.0, ImageOrientationPatient=TURNED), pet(series=1, start_mm=40.0)
    chosen = select([*ct(slices=30), *turned, *straight])
    assert [c.code for c in chosen.cautions] == ["several-pet-series"]


def test_the_newest_region_of_a_person_is_taken() -> None:
    old, new = rtstruct(3, StructureSetDate="20260101"), seg(4, ContentDate="20260105")
    automatic = seg(5, "AUTOMATIC", ContentDate="20260109")
    chosen = select([new, automatic, old, *ct(), *pet()])
    assert chosen.region == new


def test_a_persons_region_that_cannot_be_used_is_not_dropped_silently() -> None:
    chosen = select([rtstruct(9, frame="9.9"), *ct(), *pet()])
    assert (chosen.region, [c.code for c in chosen.cautions]) == (None, ["region-left-out"])
    assert select([rtstruct(9, frame="9.9"), rtstruct(3), *ct(), *pet()]).cautions == ()
    assert select([seg(9, "AUTOMATIC"), *ct(), *pet()]).cautions == ()


def test_a_semiautomatic_segmentation_counts_as_a_persons() -> None:
    assert select([seg(4, "SEMIAUTOMATIC"), *ct(), *pet()]).region is not None


def test_the_story_names_no_patient() -> None:
    story = " ".join(c.sentence for c in select([*ct(), *pet(), rtstruct()]).choices)
    assert "Doe" not in story
    assert "P1" not in story
    assert PET_IMAGE not in story

"""What every result object shares: source headers, derived UIDs, run times, equipment, and the finished file.

highdicom writes the present time and random UIDs; ``Evidence.stamp`` overwrites both, so that the same run of the same
input writes the same bytes.  Patient and study attributes are copied verbatim from the source, decoded to UTF-8; what
is empty there stays empty, and what is no valid value is left empty (``source``).
"""

from __future__ import annotations

import hashlib
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.uid import UID, ExplicitVRLittleEndian

from dicom_node.identity import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION, derived_uid
from dicom_node.report import codes
from dicom_node.report.lossy import Lossy
from dicom_node.report.pictures.lettering import readable
from dicom_node.report.source import ALWAYS, WHERE_PRESENT, left_out_caution, read_header
from dicom_node.report.words.phrases import Phrases
from inference.facts import Caution, Instance, Kind, ModelFacts, Refused, Result, Run

# Their series module has neither Body Part Examined nor Laterality (PS3.3 C.17.1, C.17.6.1, C.24.1, C.8.8.1).
NO_BODY_PART = frozenset(["SR", "KO", "DOC", "RTSTRUCT"])
# Body parts (PS3.16 annex L) there is one of: Laterality must be absent with these, and present with all others.
UNPAIRED = frozenset(
    [
        "ABDOMEN",
        "ABDOMENPELVIS",
        "AORTA",
        "BLADDER",
        "BRAIN",
        "CEREBELLUM",
        "CERVIX",
        "CHEST",
        "CHESTABDOMEN",
        "CHESTABDPELVIS",
        "CIRCLEOFWILLIS",
        "COCCYX",
        "COLON",
        "CORONARYARTERY",
        "CSPINE",
        "CTSPINE",
        "DUODENUM",
        "ESOPHAGUS",
        "GALLBLADDER",
        "HEAD",
        "HEADNECK",
        "HEART",
        "ILEUM",
        "JAW",
        "JEJUNUM",
        "LARYNX",
        "LIVER",
        "LSPINE",
        "LSSPINE",
        "MAXILLA",
        "MEDIASTINUM",
        "MOUTH",
        "NECK",
        "NECKCHEST",
        "NECKCHESTABDOMEN",
        "NECKCHESTABDPELV",
        "NOSE",
        "PANCREAS",
        "PELVIS",
        "PENIS",
        "PHARYNX",
        "PROSTATE",
        "RECTUM",
        "SCALP",
        "SKULL",
        "SPINE",
        "SPLEEN",
        "SSPINE",
        "STERNUM",
        "STOMACH",
        "TLSPINE",
        "THYMUS",
        "THYROID",
        "TONGUE",
        "TRACHEA",
        "TSPINE",
        "URETHRA",
        "UTERUS",
        "VAGINA",
        "VULVA",
        "WHOLEBODY",
    ]
)


@dataclass(frozen=True, slots=True)
class Clock:
    """The run's start in the source's time zone (the node's own where the source names none)."""

    started: datetime

    @classmethod
    def of(cls, run: Run, source: Dataset) -> Clock:
        """Raises ValueError where ``run.started_at`` is not DT text with an offset."""
        started = pydicom.valuerep.DT(run.started_at)
        if started.tzinfo is None:
            raise ValueError(f"the start of a run is DT text with an offset from UTC, not {run.started_at!r}")
        offset = str(source.get("TimezoneOffsetFromUTC") or "").strip()
        if len(offset) == 5 and offset[0] in "+-" and offset[1:].isdigit():
            minutes = int(offset[1:3]) * 60 + int(offset[3:])
            started = started.astimezone(timezone(timedelta(minutes=minutes if offset[0] == "+" else -minutes)))
        return cls(started)

    @property
    def date(self) -> str:
        return self.started.strftime("%Y%m%d")

    @property
    def time(self) -> str:
        return self.started.strftime("%H%M%S.%f")

    @property
    def date_time(self) -> str:
        return self.started.strftime("%Y%m%d%H%M%S.%f%z")


@dataclass(frozen=True, slots=True)
class Evidence:
    """The source of one result set and the identity everything in it is derived from.

    ``source``: header of one image of the study, and in ``left_out`` the keywords of what broke DICOM in it.
    ``content_digest``: of the instances that the results rest on.  ``lossy``: what images made of these must say.
    ``images``: what of the study was looked at.
    """

    source: Dataset
    content_digest: str
    model: ModelFacts | None
    run: Run
    clock: Clock
    left_out: tuple[str, ...] = ()
    lossy: Lossy | None = None
    images: Kind = "PET/CT"

    @classmethod
    def of(cls, instance: Instance, content_digest: str, model: ModelFacts | None, run: Run) -> Evidence:
        """Evidence headed by ``instance``, whose patient and study the results will carry."""
        source, left_out = read_header(instance.path)
        found = str(source.get("StudyInstanceUID")), str(source.get("SOPInstanceUID"))
        if found != (instance.study_instance_uid, instance.sop_instance_uid):
            raise Refused(
                "source-changed",
                "The file of a source image no longer holds what was received in it; send the study again.",
                sop_instance_uid=instance.sop_instance_uid,
            )
        return cls(source, content_digest, model, run, Clock.of(run, source), left_out)

    def uid(self, name: str) -> str:
        """The UID of the thing called ``name`` in this result set.

        The same input, model, settings and predecessors, which stand in the reports, give the same.
        """
        model = (self.model.name, self.model.version, self.model.digest) if self.model else ()
        run = (self.run.device_uid, self.run.node_version, self.run.settings_digest)
        replaced = [p.sop_instance_uid for p in self.run.predecessors]
        # it stands in the objects; absent else, so that a node with one model keeps its UIDs
        block = [f"series block {self.run.series_block}"] if self.run.series_block else []
        return derived_uid("result", self.content_digest, name, *model, *run, *block, *replaced)

    @property
    def cautions(self) -> tuple[Caution, ...]:
        """What to beware of in the source's header."""
        return left_out_caution(self.left_out)

    @property
    def say(self) -> Phrases:
        """The phrases of the language that the run's texts for people are in."""
        return Phrases(self.run.language)

    @property
    def say_in_pictures(self) -> Phrases:
        """The same where the fonts can show it, else English."""
        return readable(self.say)

    @property
    def notice(self) -> str:
        """For attributes, in English: that an earlier result is replaced; "" where none is."""
        return Phrases()("picture-replaces") if self.run.predecessors else ""

    @property
    def notice_in_pictures(self) -> str:
        """The same in the pictures' language."""
        return self.say_in_pictures("picture-replaces") if self.run.predecessors else ""

    @property
    def software_versions(self) -> list[str]:
        model = [f"model {self.model.name} {self.model.version}"[:64]] if self.model else []
        return [self.run.node_version, *model]

    def for_highdicom(self, name: str, series_number: int) -> dict[str, object]:
        """The arguments all of highdicom's objects ask for."""
        return {
            "series_instance_uid": self.uid(f"{name} series"),
            "sop_instance_uid": self.uid(name),
            "instance_number": 1,
            "series_number": series_number,
            "manufacturer": codes.MANUFACTURER,
            "manufacturer_model_name": "petct-node",
            "software_versions": self.software_versions,
            "device_serial_number": self.run.serial,
        }

    def stamp(self, ds: Dataset, name: str, series_description: str) -> None:
        """Give ``ds`` the patient, study, equipment and times of this result set, and pin what was left to chance."""
        ds.SpecificCharacterSet = "ISO_IR 192"
        self._stamp_patient_and_study(ds)
        self._stamp_equipment(ds)
        if self.lossy:
            self.lossy.write_into(ds)
        ds.SeriesNumber = int(ds.SeriesNumber) + 100 * self.run.series_block
        ds.SeriesDescription = self._named(series_description)
        for kind in ("InstanceCreation", "Content", "Series"):
            ds[f"{kind}Date"] = pydicom.DataElement(f"{kind}Date", "DA", self.clock.date)
            ds[f"{kind}Time"] = pydicom.DataElement(f"{kind}Time", "TM", self.clock.time)
        self._pin_dimension_organization(ds, name)

    def _named(self, series_description: str) -> str:
        """With the model's name where studies get results of several; an LO has 64 characters (PS3.5 6.2)."""
        if not self.model or not self.run.names_model:
            return series_description[:64]
        return f"{series_description} [{self.model.name[: 61 - len(series_description)]}]"

    def _stamp_patient_and_study(self, ds: Dataset) -> None:
        ds.StudyInstanceUID = self.source.StudyInstanceUID
        for keyword in (*ALWAYS, *WHERE_PRESENT):
            if self.source.get(keyword) or (keyword in ALWAYS and keyword in self.source):
                ds[keyword] = deepcopy(self.source[keyword])
            elif keyword in ALWAYS:
                setattr(ds, keyword, "")
            elif keyword in ds:
                del ds[keyword]
        if ds.get("PatientIdentityRemoved") == "YES" and "DeidentificationMethodCodeSequence" not in ds:
            ds.setdefault("DeidentificationMethod", "not stated by the source images")  # type 1C
        ds.pop("Laterality", None)
        if str(ds.get("BodyPartExamined", "")) not in UNPAIRED:
            ds.Laterality = self.source.get("Laterality", "")  # type 2C: unknown stays empty
        if ds.Modality in NO_BODY_PART:
            for keyword in ("BodyPartExamined", "Laterality"):
                ds.pop(keyword, None)

    def _stamp_equipment(self, ds: Dataset) -> None:
        ds.Manufacturer, ds.ManufacturerModelName = codes.MANUFACTURER, "petct-node"
        ds.SoftwareVersions, ds.DeviceSerialNumber = self.software_versions, self.run.serial
        ds.DeviceUID = self.run.device_uid
        ds.ContributingEquipmentSequence = [self._equipment("petct-node", self.software_versions, "")]
        if self.model:
            item = self._equipment(self.model.name[:64], [self.model.version[:64]], self.model.statement)
            ds.ContributingEquipmentSequence.append(item)

    def _equipment(self, name: str, versions: list[str], statement: str) -> Dataset:
        item = Dataset()
        item.PurposeOfReferenceCodeSequence = [code_item(codes.PROCESSING_EQUIPMENT)]
        item.Manufacturer, item.ManufacturerModelName, item.SoftwareVersions = codes.MANUFACTURER, name, versions
        item.DeviceSerialNumber = self.run.serial
        item.ContributionDateTime = self.clock.date_time
        item.ContributionDescription = f"{codes.RESEARCH_USE_ONLY}. {statement}".strip()
        return item

    def _pin_dimension_organization(self, ds: Dataset, name: str) -> None:
        if "DimensionOrganizationSequence" not in ds:
            return
        uid = self.uid(f"{name} dimensions")
        for item in (*ds.DimensionOrganizationSequence, *ds.DimensionIndexSequence):
            item.DimensionOrganizationUID = uid

    def write(self, ds: Dataset, kind: str, folder: Path, name: str = "") -> Result:
        """Write ``ds`` as ``folder/name.dcm`` (``name``: its kind, unless given): whole or not at all."""
        name = name or kind
        ds.file_meta = _file_meta(ds)
        ds.preamble = bytes(128)
        path, unfinished = folder / f"{name}.dcm", folder / f".{name}.dcm.part"
        ds.save_as(unfinished, enforce_file_format=True, overwrite=True)
        sha256 = hashlib.sha256(unfinished.read_bytes()).hexdigest()
        unfinished.replace(path)
        return Result(
            kind=kind,
            sop_class_uid=str(ds.SOPClassUID),
            sop_instance_uid=str(ds.SOPInstanceUID),
            series_instance_uid=str(ds.SeriesInstanceUID),
            study_instance_uid=str(ds.StudyInstanceUID),
            path=path,
            sha256=sha256,
        )


def _file_meta(ds: Dataset) -> FileMetaDataset:
    given = getattr(ds, "file_meta", None)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    meta.TransferSyntaxUID = given.TransferSyntaxUID if given else ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION
    return meta


def code_item(code: Code) -> Dataset:
    """A code as an item of a code sequence (PS3.3 8.8), for objects written without highdicom."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item

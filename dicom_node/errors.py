"""The refusal table: for every reason not to go on, who must act, how each protocol says it, and what to do.

A code is stable for machines; its coded concept (scheme 99PETCTNODE) is stable for readers of reports: numbers are
never used again for another meaning.  ``Refused.reason`` names the thing at hand, the row what holds for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dicom_node.refused_by_training import COHORT, COMMAND, EVALUATE, OF_VALUES, PHANTOM, RECIPE, RUN, TRAINING
from inference.facts import Code

SCHEME = "99PETCTNODE"
SUCCESS, OUT_OF_RESOURCES, WRONG_CLASS, NOT_UNDERSTOOD = 0x0000, 0xA700, 0xA900, 0xC000  # PS3.4 table B.2-1

Actor = Literal["sender", "operator", "developer"]

RESEND = "Send the study again from its source."
CORRECT = "Have the sending system corrected, then send the study again."
WHOLE = "Send the whole series, with all its slices."
HEADER = "Complete the header at the scanner or archive, then send the series again."
OTHER = "Send a series of the kind this node analyses."
CONVERT = "Convert the instance with a DICOM tool, then send it again."
REGION = "Draw or export the region again on this PET or CT."
BUNDLE = "Install the model bundle again, or name another in infer.bundle."
SEGMENTER = "Mend or update the segmenter's package, or empty infer.segmenter."
SETTINGS = "Check the configuration with `petct-node doctor`."
DISK = "Check the node's disk with `petct-node doctor`."
SPOOL = "Find out what changed the files, restore them (on a node: its data folder), then analyse again."
REPORT = "Report it with the log; it is a fault of the program."


@dataclass(frozen=True, slots=True)
class Row:
    """One reason.

    ``dimse``: status of the C-STORE in which it shows (0x0000 where it shows only later, in the study as a whole).
    ``http``: status in the web API.  ``concept``: the coded reason in the SR.  ``advice``: what ``who`` has to do.
    ``routine``: the study was never one for this node, so nobody waits for its answer (setting deliver.refusals).
    """

    code: str
    who: Actor
    dimse: int
    http: int
    concept: Code
    advice: str
    routine: bool


def row(code: str) -> Row:
    """The row of a code; for one that is not in the table, that of a fault of the program."""
    return ROWS.get(code) or ROWS["analysis-failed"]


def _table(who: Actor, dimse: int, http: int, rows: dict[str, tuple[int, str, str]]) -> dict[str, Row]:
    """Rows that share actor and statuses: code → (number, meaning of at most 64 characters, advice)."""
    return {
        code: Row(code, who, dimse, http, Code(f"REFUSED-{number}", SCHEME, meaning), advice, code in ROUTINE)
        for code, (number, meaning, advice) in rows.items()
    }


# What an archive or a scanner sends every day and this node was not made for: no PET at all, or by its own header a PET
# of another kind.  Every other refusal is of a study that could have been analysed: a person should know of it.
ROUTINE = frozenset(
    [
        *("no-images", "no-pet", "no-pet-ct", "not-routed"),
        *("pet-not-static", "pet-reprojection", "pet-transmission"),
    ]
)

_NOT_UNDERSTOOD = {
    "not-dicom": (101, "Not a DICOM file", RESEND),
    "no-preamble": (102, "DICOM file without preamble and prefix", CONVERT),
    "no-transfer-syntax": (103, "Transfer Syntax UID absent", CONVERT),
    "media-directory": (104, "DICOMDIR in place of an instance", RESEND),
    "no-identity": (105, "Identifying UID absent", CORRECT),
    "uid-invalid": (106, "UID malformed", CORRECT),
    "no-data-set": (107, "C-STORE without data set", RESEND),
    "unreadable-truncated": (108, "Data set cut short", RESEND),
    "unreadable-structure": (109, "Data set malformed", CORRECT),
    "unreadable-deflated": (110, "Deflated data set damaged", RESEND),
    "nesting-too-deep": (111, "Sequences nested too deep", CORRECT),
    "too-many-elements": (112, "Too many elements", CORRECT),
    "pixel-data-missing": (113, "Pixel data absent", RESEND),
    "pixel-data-short": (114, "Pixel data shorter than the image", RESEND),
    "header-too-large": (115, "Header larger than allowed", CORRECT),
}
_WRONG_IDENTITY = {
    "identity-mismatch": (120, "Command, header and data set disagree", CORRECT),
}
_NO_ROOM = {
    "spool-full": (130, "No room on the node's disk", DISK),
    "storage-failed": (131, "The node's disk did not keep the data", DISK),
    "instance-too-large": (
        132,
        "Data set larger than allowed",
        "Raise receive.max_instance_mb, or send smaller objects.",
    ),
    "unreadable-file": (133, "File cannot be read", DISK),
}
_STUDY = {
    # which series
    "sop-instance-conflict": (201, "Two objects under one SOP Instance UID", CORRECT),
    "instance-uid-reused": (202, "One SOP Instance UID used for several images", CORRECT),
    "no-images": (203, "No images", WHOLE),
    "no-pet": (204, "No PET series that can be analysed", OTHER),
    "no-ct": (205, "No CT series that belongs to the PET", "Send the CT of the same examination."),
    "no-pet-ct": (206, "Neither PET nor CT", OTHER),
    "several-studies": (207, "Several studies where one is expected", "Send or name one study at a time."),
    "several-pet-series": (208, "Several PET series where one is expected", "Name one PET series."),
    "patient-mismatch": (209, "PET and CT of different patients", "Correct the patient's identity at the source."),
    "pet-in-several-series": (210, "PET volume split into several series", "Send the PET as one series."),
    "pet-incomplete": (211, "PET slices missing", WHOLE),
    "no-overlap": (212, "PET and CT do not overlap", "Send the CT of the same examination."),
    "ct-does-not-cover-pet": (213, "CT covers too little of the PET", "Send the CT of the whole PET range."),
    "frame-of-reference-differs": (214, "Different Frame of Reference", "Send PET and CT of one examination."),
    "another-plane": (219, "CT slices in another plane than the PET's", "Send the axial CT."),
    "pet-not-static": (215, "PET not static", "Send the static or whole-body PET."),
    "pet-reprojection": (216, "PET is a reprojection", "Send the slices."),
    "pet-transmission": (221, "PET is a transmission scan", "Send the emission scan, attenuation-corrected."),
    "pet-not-attenuation-corrected": (217, "PET not attenuation-corrected", "Send the attenuation-corrected PET."),
    "not-routed": (220, "No routing rule wants the study", "Change the routing rules ([[route]])."),
    "not-slices": (218, "Images are no slices", OTHER),
    # geometry
    "frame-of-reference-missing": (301, "Frame of Reference absent", HEADER),
    "frame-of-reference-mixed": (302, "Several Frames of Reference in a series", CORRECT),
    "multiframe-unsupported": (303, "Multi-frame object not readable", "Send the series as single-frame images."),
    "image-size-mixed": (304, "Images of different size in a series", CORRECT),
    "orientation-mixed": (305, "Several orientations in a series", "Send the volume as a series of its own."),
    "orientation-invalid": (306, "Image orientation invalid", CORRECT),
    "pixel-spacing-mixed": (307, "Several pixel spacings in a series", CORRECT),
    "duplicate-position": (308, "Two different images at one position", CORRECT),
    "dynamic-series": (309, "Dynamic or gated series", "Send a static series."),
    "missing-slices": (310, "Slices missing", WHOLE),
    "sheared-stack": (311, "Sheared stack (gantry tilt)", "Send a series without gantry tilt."),
    "irregular-spacing": (312, "Irregular slice spacing", "Send a series with even spacing."),
    "single-slice": (313, "A single slice", WHOLE),
    "position-missing": (314, "Image position missing", HEADER),
    "orientation-missing": (315, "Image orientation missing", HEADER),
    "pixel-spacing-missing": (316, "Pixel spacing missing", HEADER),
    "reconstructions-mixed": (317, "Several reconstructions in a series", "Send each as a series of its own."),
    "acquisitions-mixed": (318, "Several acquisitions in a series", "Send each as a series of its own."),
    # pixels
    "pixel-data-disagrees": (401, "Pixel data disagree with the header", CORRECT),
    "pixel-data-unreadable": (402, "Pixel data cannot be decoded", RESEND),
    "pixel-format-unsupported": (403, "Pixel format not supported", CONVERT),
    "pixel-sign-disagrees": (404, "Sign of pixel data unclear", CORRECT),
    "transfer-syntax-unsupported": (405, "Transfer syntax not supported", CONVERT),
    "too-large": (406, "Volume larger than allowed", "Send a smaller series."),
    "value-malformed": (407, "Header value malformed", CORRECT),
    "ct-not-hu": (408, "CT not in Hounsfield units", OTHER),
    "ct-rescale-missing": (409, "CT without rescale values", HEADER),
    "pixel-bits-disagree": (412, "Bits of pixel data unclear", CORRECT),
    "ct-values-out-of-range": (413, "CT values are no HU", CORRECT),
    "iodine-unit-unknown": (1171, "Unit of the iodine map unclear", "Export the iodine map in mg/ml, with its unit."),
    "several-iodine-maps": (1173, "Several iodine maps where one is expected", "Send one iodine map."),
    "iodine-values-out-of-range": (1172, "Iodine map not in mg/ml", "Export the iodine map in mg/ml."),
    # SUV
    "pet-header-mixed": (501, "PET slices disagree in their header", CORRECT),
    "pet-intercept-not-zero": (502, "PET rescale intercept not zero", CORRECT),
    "pet-slope-invalid": (503, "PET rescale slope invalid", CORRECT),
    "units-unsupported": (504, "PET units cannot become SUV", "Send the PET in Bq/ml."),
    "counts-without-factor": (505, "PET counts without calibration factor", "Send the PET in Bq/ml."),
    "suv-type-unsupported": (506, "SUV type not supported", "Send the PET in Bq/ml or as SUVbw."),
    "not-attenuation-corrected": (507, "PET not attenuation-corrected", "Send the attenuation-corrected PET."),
    "reprojection": (508, "Reprojection (MIP) in place of slices", "Send the slices."),
    "decay-correction-unsupported": (509, "Decay correction not supported", "Send the PET with START or ADMIN."),
    "weight-missing": (510, "Patient's weight missing", HEADER),
    "height-missing": (511, "Patient's height missing", HEADER),
    "sex-missing": (512, "Patient's sex missing", HEADER),
    "body-factor-implausible": (513, "Patient's weight or height implausible", HEADER),
    "dose-missing": (514, "Radionuclide dose missing", HEADER),
    "dose-implausible": (515, "Radionuclide dose implausible", HEADER),
    "half-life-missing": (516, "Radionuclide half-life missing", HEADER),
    "half-life-implausible": (517, "Radionuclide half-life implausible", HEADER),
    "time-missing": (518, "Injection or scan time missing", HEADER),
    "injection-after-scan": (519, "Injection after the scan", HEADER),
    "injection-ambiguous": (520, "Injection time ambiguous", HEADER),
    "uptake-time-implausible": (521, "Uptake time implausible", HEADER),
    "weight-implausible": (522, "Patient's weight implausible", HEADER),
    "counts-not-quantitative": (523, "PET counts per second not quantitative", "Send the PET in Bq/ml."),
    # region
    "region-empty": (601, "Region without voxels", REGION),
    "region-frame-of-reference-differs": (602, "Region in another Frame of Reference", REGION),
    "region-outside-image": (603, "Region outside the PET", REGION),
    "region-outside-ct": (604, "Region outside the CT", REGION),
    "region-unreadable": (605, "Region cannot be read", REGION),
    "region-unsupported": (606, "Kind of region not supported", REGION),
    "contour-malformed": (607, "Contour malformed", REGION),
    "contours-not-in-plane": (608, "Contours not in the image plane", REGION),
    "segmentation-automatic": (609, "Segmentation drawn by a program", "Send a region that a person drew or approved."),
    # 610 was "segmentation-not-binary"
    "region-ambiguous": (611, "No region named as a tumour", REGION),
    "region-too-large": (612, "Region object larger than allowed", REGION),
    "segmentation-too-large": (613, "Segmentation larger than allowed", REGION),
    "segmentation-geometry": (614, "Segmentation without a regular grid", REGION),
    "segmentation-kind": (615, "Segmentation Type not supported", REGION),
    "region-needed": (1170, "No person's region on the CT or iodine map", REGION),
    "nothing-to-answer-to": (701, "No image to attach a report to", WHOLE),
    "source-identity-invalid": (
        705,
        "Patient's name or ID no valid DICOM value",
        "Correct the patient's identity at the source, then send the study again.",
    ),
}
_OPERATOR = {
    "source-changed": (702, "Source images changed meanwhile", SPOOL),
    "source-unreadable": (704, "Source image cannot be read", SPOOL),
    "content-changed": (703, "Stored study is not the one analysed", SPOOL),
    "device-missing": (801, "Compute device missing", SETTINGS),
    "bundle-head": (1140, "Head of the model bundle invalid", BUNDLE),
    "bundle-altered": (802, "Model bundle altered", BUNDLE),
    "bundle-manifest": (803, "Manifest of the model bundle invalid", BUNDLE),
    "bundle-metadata": (804, "Metadata of the model bundle invalid", BUNDLE),
    "bundle-not-found": (805, "Model bundle not found", BUNDLE),
    "bundle-out": (806, "Model bundle cannot be written there", "Name another folder."),
    "bundle-preprocessing": (807, "Model bundle made for other preprocessing", BUNDLE),
    "bundle-too-large": (808, "Model bundle larger than allowed", BUNDLE),
    "bundle-weights": (809, "Weights of the model bundle invalid", BUNDLE),
    "segmenter-not-found": (820, "Segmenter not installed", SEGMENTER),
    "segmenter-unusable": (821, "Segmenter cannot be loaded", SEGMENTER),
    "segmenter-failed": (822, "Segmenter failed", SEGMENTER),
    "archive-unreachable": (908, "Archive does not answer", "Check that the archive runs at this address."),
    "node-not-started": (909, "The node did not start", "Read its log, named in the message."),
    "node-already-running": (907, "Another node runs on this data folder", SETTINGS),
    "data-dir-unusable": (931, "Data folder cannot be used", "Check rights, file system and content of node.data_dir."),
    "port-in-use": (901, "Port cannot be bound", SETTINGS),
    "orthanc-not-installed": (902, "Orthanc not installed", "Install Orthanc: `petct-node doctor` names the command."),
    "orthanc-not-started": (903, "Orthanc did not start", "Read its log, named in the message."),
    "peer-unreachable": (904, "Peer does not answer", "Check that it runs and listens on this address and port."),
    "association-rejected": (905, "Peer rejected the association", "Check the AE titles on both sides."),
    "nothing-accepted": (906, "Peer accepts none of the objects", "Check which SOP classes the peer accepts."),
}
_COMMAND = {
    "nothing-stored": (923, "No node has stored anything here", COMMAND),
    "study-unknown": (924, "Study unknown to the node", "Take a UID that `petct-node explain` lists."),
    "role-unknown": (910, "Role unknown", COMMAND),
    "bad-address": (911, "Address malformed", COMMAND),
    "folder-not-found": (912, "Folder not found", COMMAND),
    "no-such-folder": (913, "File or folder not found", COMMAND),
    "no-dicom": (914, "No DICOM file in the folder", COMMAND),
    "nothing-to-send": (915, "Nothing to send", COMMAND),
    "mask-empty": (916, "Mask without voxels", COMMAND),
    "mask-unreadable": (917, "Mask cannot be read", COMMAND),
    "not-a-result": (918, "Not a result of this node", COMMAND),
    "out-not-writable": (919, "Results cannot be written there", COMMAND),
    "out-holds-other-files": (920, "Result would replace another's file", COMMAND),
}
_DEVELOPER = {
    "analysis-failed": (951, "The analysis failed", REPORT),
    "input-frame-of-reference": (952, "Network input in another Frame of Reference", REPORT),
    "input-not-finite": (953, "Network input not finite", REPORT),
    "input-region-empty": (954, "Network input without region", REPORT),
    "input-region-without-uptake": (955, "Region without uptake", REGION),
    "radiomics-region": (1133, "Region too thin for its features", REGION),
    "report-place-differs": (956, "Report geometry differs from its source", REPORT),
    "report-slices-differ": (957, "Report slices differ from their source", REPORT),
}

ROWS: dict[str, Row] = (
    _table("sender", NOT_UNDERSTOOD, 422, _NOT_UNDERSTOOD)
    | _table("sender", WRONG_CLASS, 422, _WRONG_IDENTITY)
    | _table("operator", OUT_OF_RESOURCES, 507, _NO_ROOM)
    | _table("sender", SUCCESS, 422, _STUDY)
    | _table("operator", SUCCESS, 503, _OPERATOR)
    | _table("operator", SUCCESS, 400, OF_VALUES)
    | _table("operator", SUCCESS, 400, _COMMAND)
    | _table("operator", SUCCESS, 400, COHORT)
    | _table("operator", SUCCESS, 400, PHANTOM)
    | _table("operator", SUCCESS, 400, RECIPE)
    | _table("operator", SUCCESS, 400, TRAINING)
    | _table("operator", SUCCESS, 400, RUN)
    | _table("operator", SUCCESS, 400, EVALUATE)
    | _table("developer", NOT_UNDERSTOOD, 500, _DEVELOPER)
)
"""Every refusal anywhere, by its code."""

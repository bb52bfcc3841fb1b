"""From the instances of a study to the pair that is analysed, or to the reason why there is none."""

from dicom_node.assemble.completeness import Before, Complete, GiveUp, Traffic, Verdict, Wait, judge, not_before
from dicom_node.assemble.pairing import assemble
from dicom_node.assemble.story import Choice, tell
from dicom_node.assemble.two_studies import frames_without_ct, join_studies, with_ct_of_other_studies

__all__ = [
    "Before",
    "Choice",
    "Complete",
    "GiveUp",
    "Traffic",
    "Verdict",
    "Wait",
    "assemble",
    "frames_without_ct",
    "join_studies",
    "judge",
    "not_before",
    "tell",
    "with_ct_of_other_studies",
]

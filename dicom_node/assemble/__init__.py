"""From the instances of a study to the pair that is analysed, or to the reason why there is none."""

from dicom_node.assemble.completeness import Complete, GiveUp, Traffic, Verdict, Wait, judge
from dicom_node.assemble.pairing import assemble
from dicom_node.assemble.story import Choice, tell

__all__ = ["Choice", "Complete", "GiveUp", "Traffic", "Verdict", "Wait", "assemble", "judge", "tell"]

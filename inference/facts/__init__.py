"""The facts that cross from one step to the next: receive → assemble → infer → report.

Frozen dataclasses and nothing else.  Every array is indexed (slice, row, column); every affine is 4×4
and takes the homogeneous voxel index (slice, row, column, 1), at voxel centres, to the patient's LPS
coordinates in millimetres (DICOM PS3.3 C.7.6.2.1.1), in the Frame of Reference named beside it.
"""

from inference.facts.analysis import Analysis, ModelFacts, Prediction, Saliency, TakenValue
from inference.facts.images import BoolArray, FloatArray, Instance, Kind, Pair, Region, Series, Volume
from inference.facts.measures import Lesion, ReferenceUptake, SuvRule, SuvScale, Tracer, Uptake
from inference.facts.refusal import Caution, Code, Refused
from inference.facts.run import Occasion, OccasionKind, Predecessor, Result, Run

__all__ = [
    "Analysis",
    "BoolArray",
    "Caution",
    "Code",
    "FloatArray",
    "Instance",
    "Kind",
    "Lesion",
    "ModelFacts",
    "Occasion",
    "OccasionKind",
    "Pair",
    "Predecessor",
    "Prediction",
    "ReferenceUptake",
    "Refused",
    "Region",
    "Result",
    "Run",
    "Saliency",
    "Series",
    "SuvRule",
    "SuvScale",
    "TakenValue",
    "Tracer",
    "Uptake",
    "Volume",
]

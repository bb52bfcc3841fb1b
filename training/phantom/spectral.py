"""The header of an iodine map: a material-specific image of a multi-energy CT, kept as CT Image Storage.

What says "iodine map, mg/ml" (PS3.3 since 2018, Supplement 188), all of it present here:

* Image Type (0008,0008) value 4 is ``MAT_SPECIFIC`` (C.8.2.1.1.1): each pixel tells a property of one material;
* Multi-energy CT Acquisition (0018,9361) is ``YES``;
* Rescale Type (0028,1054) is ``MGML``, mg/ml, and not ``HU`` (C.11.1.1.2, recommended for concentrations in
  C.11.1.1.2.1): intercept and slope lead to mg/ml;
* Real World Value Mapping Sequence (0040,9096): Measurement Units ``mg/ml`` UCUM (CID 301; ``mg/cm3`` is the same),
  LUT Label ``MAT_SPECIFIC``, Quantity Definition Substance (105590001, SCT) = Iodine (44588005, SCT, CID 300), as in
  the example of PS3.17 annex KKKK.

Only the mapping's quantity (or Multi-energy CT Processing Sequence → Decomposition Material Sequence) names the
material; water, calcium and uric acid are written the same way.  So a reader needs both: unit mg/ml and material
iodine.  Older scanners wrote none of this: what they call iodine in a Series Description may be HU or a private scale,
and an unmarked unit cannot be told from the pixels (PS3.17 annex JJJJ.4 warns of just that).  It must be refused.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileDataset

from training.phantom.headers import Examination, code_item, ct_image, date_of, decimal, time_of
from training.phantom.solids import Grid

SLOPE_MG_ML, INTERCEPT_MG_ML = 0.01, -10.0
IODINE = ("44588005", "SCT", "Iodine")
WATER = ("11713004", "SCT", "Water")


def iodine_image(exam: Examination, grid: Grid, index: int, mg_ml: npt.NDArray[np.float32]) -> FileDataset:
    """One slice of the map; ``mg_ml`` (row, column), −10 … 30."""
    stored = np.clip(np.rint((mg_ml - INTERCEPT_MG_ML) / SLOPE_MG_ML), 0, 4095).astype(np.uint16)
    ds = ct_image(exam, grid, index, stored)
    ds.ImageType = ["DERIVED", "PRIMARY", "AXIAL", "MAT_SPECIFIC"]
    ds.SeriesDescription = "IODINE MAP (PHANTOM)"
    ds.SeriesNumber = 4
    ds.SeriesInstanceUID = exam.uid("iodine", "series")
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = exam.uid("iodine", index)
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = decimal(INTERCEPT_MG_ML), decimal(SLOPE_MG_ML), "MGML"
    ds.WindowCenter, ds.WindowWidth = 4, 8
    ds.MultienergyCTAcquisition = "YES"
    ds.MultienergyCTAcquisitionSequence = [_acquisition(exam)]
    ds.MultienergyCTProcessingSequence = [_processing()]
    ds.RealWorldValueMappingSequence = [_mapping()]
    return ds


def _mapping() -> Dataset:
    item = Dataset()
    item.RealWorldValueFirstValueMapped, item.RealWorldValueLastValueMapped = 0, 4095
    item["RealWorldValueFirstValueMapped"].VR = item["RealWorldValueLastValueMapped"].VR = "US"
    item.RealWorldValueIntercept, item.RealWorldValueSlope = INTERCEPT_MG_ML, SLOPE_MG_ML
    item.LUTExplanation, item.LUTLabel = "Iodine concentration, base materials water and iodine", "MAT_SPECIFIC"
    item.MeasurementUnitsCodeSequence = [code_item("mg/ml", "UCUM", "mg/ml")]
    item.QuantityDefinitionSequence = [
        _coded_item(("105590001", "SCT", "Substance"), IODINE),
        _coded_item(("370129005", "SCT", "Measurement Method"), ("129323", "DCM", "Material Specific Image")),
    ]
    return item


def _coded_item(name: tuple[str, str, str], value: tuple[str, str, str]) -> Dataset:
    item = Dataset()
    item.ValueType = "CODE"
    item.ConceptNameCodeSequence, item.ConceptCodeSequence = [code_item(*name)], [code_item(*value)]
    return item


def _processing() -> Dataset:
    item = Dataset()
    item.DecompositionMethod = "PROJECTION_BASED"
    item.DecompositionMaterialSequence = []
    for material in (WATER, IODINE):
        of_material = Dataset()
        of_material.MaterialCodeSequence = [code_item(*material)]
        item.DecompositionMaterialSequence.append(of_material)
    return item


def _acquisition(exam: Examination) -> Dataset:
    """One tube, a detector of two layers: two paths."""
    source, at = Dataset(), date_of(exam.ct_at) + time_of(exam.ct_at)
    source.XRaySourceIndex, source.XRaySourceID, source.MultienergySourceTechnique = 1, "1", "CONSTANT_SOURCE"
    source.SourceStartDateTime = source.SourceEndDateTime = at
    source.KVP = 120
    item = Dataset()
    item.MultienergyAcquisitionDescription = "Detector of two layers (phantom)"
    item.MultienergyCTXRaySourceSequence = [source]
    item.MultienergyCTXRayDetectorSequence, item.MultienergyCTPathSequence = [], []
    for layer in (1, 2):
        detector, path = Dataset(), Dataset()
        detector.XRayDetectorIndex, detector.XRayDetectorID = layer, str(layer)
        detector.MultienergyDetectorType = "MULTILAYER"
        path.MultienergyCTPathIndex, path.ReferencedXRaySourceIndex, path.ReferencedXRayDetectorIndex = layer, 1, layer
        item.MultienergyCTXRayDetectorSequence.append(detector)
        item.MultienergyCTPathSequence.append(path)
    return item

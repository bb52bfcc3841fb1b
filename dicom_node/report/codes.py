"""Every coded concept the results use: standard ones, and the private scheme 99PETCTNODE.

Private codes are never reused or redefined; a code's meaning is at most 64 characters (PS3.3 8.8, LO).  What a model
predicts is coded by the model itself (``ModelFacts.status_code`` and ``probability_code``).
"""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_node.identity import derived_uid
from inference import facts

PRIVATE_SCHEME = "99PETCTNODE"
MANUFACTURER = "petct-node project"
RESEARCH_USE_ONLY = "For research use only"


def _private(value: str, meaning: str) -> Code:
    return Code(value, PRIVATE_SCHEME, meaning)


# Documents and what they speak of
IMAGING_MEASUREMENT_REPORT = Code("126000", "DCM", "Imaging Measurement Report")
# Where the study names no procedure (CID 100)
PET_ANY_REGION = Code("44136-0", "LN", "PET unspecified body region")
CT_ANY_REGION = Code("25045-6", "LN", "CT unspecified body region")
LANGUAGES = {
    "en": Code("en", "RFC5646", "English"),
    "de": Code("de", "RFC5646", "German"),
    "fr": Code("fr", "RFC5646", "French"),
    "es": Code("es", "RFC5646", "Spanish"),
    "ja": Code("ja", "RFC5646", "Japanese"),
    "zh": Code("zh", "RFC5646", "Chinese"),
}
DEVICE = Code("121007", "DCM", "Device")
PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")
ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
LESION = Code("52988006", "SCT", "Lesion")
ABNORMAL_STRUCTURE = Code("49755003", "SCT", "Morphologically Abnormal Structure")
COMMENT = Code("121106", "DCM", "Comment")
OF_INTEREST = Code("113000", "DCM", "Of Interest")  # title of a key object selection (CID 7010)

# Measures of a region (PS3.16 CID 83 to 85 for the SUV units)
SUV_BW = Code("126401", "DCM", "SUVbw")
SUV_BW_METHOD = Code("126410", "DCM", "SUV body weight calculation method")

# The same three for viewers that print a number's code meaning and nothing else, such as OHIF, where
# (126401, DCM, SUVbw) with its derivation reads "SUVbw" three times.  No standard code was found whose meaning tells
# them apart (DICOM CID 7469 and 218, SNOMED CT, IBSI, RadLex and NCIt as pydicom has them), so these are private.
# Each says the same as SUV_BW with the derivation beside it, and the main report keeps that standard form.
SUV_MAX = _private("SUVBW-MAX", "SUVmax")
SUV_MEAN = _private("SUVBW-MEAN", "SUVmean")
SUV_PEAK = _private("SUVBW-PEAK", "SUVpeak")

# The other kinds by DICOM's SUV Type: quantity (CID 7469), unit (CID 85), method (CID 7466 and around it)
SUV_KINDS = {
    "LBMJANMA": (
        Code("126405", "DCM", "SUVlbm(Janma)"),
        Code("g/ml{SUVlbm(Janma)}", "UCUM", "Standardized Uptake Value lean body mass (Janma)"),
        Code("126414", "DCM", "SUV lean body mass calculation Janmahasatian method"),
    ),
    "LBMJAMES128": (
        Code("126406", "DCM", "SUVlbm(James128)"),
        Code("g/ml{SUVlbm(James128)}", "UCUM", "Standardized Uptake Value lean body mass (James 128 multiplier)"),
        Code("126415", "DCM", "SUV lean body mass calculation method using 128 multiplier"),
    ),
    "BSA": (
        Code("126403", "DCM", "SUVbsa"),
        Code("cm2/ml{SUVbsa}", "UCUM", "Standardized Uptake Value body surface area"),
        Code("126412", "DCM", "SUV body surface area calculation method"),
    ),
    "IBW": (
        Code("126404", "DCM", "SUVibw"),
        Code("g/ml{SUVibw}", "UCUM", "Standardized Uptake Value ideal body weight"),
        Code("126413", "DCM", "SUV ideal body weight calculation method"),
    ),
}
MAXIMUM = Code("56851009", "SCT", "Maximum")
MEAN = Code("373098007", "SCT", "Mean")
PEAK = Code("126031", "DCM", "Peak Value Within ROI")
VOLUME = Code("118565006", "SCT", "Volume")
METABOLIC_VOLUME = Code("126032", "DCM", "Metabolic Volume")
TOTAL_LESION_GLYCOLYSIS = Code("126033", "DCM", "Total Lesion Glycolysis")
ATTENUATION = Code("112031", "DCM", "Attenuation Coefficient")
# (122093, DCM, Concentration) does not say of what, and viewers show the meaning alone
IODINE = _private("IODINE-CONC", "Iodine concentration")
MTV_THRESHOLD = _private("MTV-THRESHOLD", "SUV threshold of the metabolic volume")

G_PER_ML_SUV_BW = Code("g/ml{SUVbw}", "UCUM", "Standardized Uptake Value body weight")
MILLILITRE = Code("ml", "UCUM", "Milliliter")
MG_PER_ML = Code("mg/ml", "UCUM", "mg/ml")  # CID 301, units of multi-energy CT
GRAM = Code("g", "UCUM", "Gram")
HOUNSFIELD = Code("[hnsf'U]", "UCUM", "Hounsfield unit")
PERCENT = Code("%", "UCUM", "Percent")
LESIONS = Code("{lesions}", "UCUM", "lesions")
INSTANCES = Code("{instances}", "UCUM", "instances")
NO_UNITS = Code("1", "UCUM", "no units")
SALIENCY = Code("130404", "DCM", "Saliency")

# The prediction
LOWER_BOUND = _private("PRED-LO95", "Lower bound of 95% prediction interval")
UPPER_BOUND = _private("PRED-HI95", "Upper bound of 95% prediction interval")
POSITIVE = Code("10828004", "SCT", "Positive")
NEGATIVE = Code("260385009", "SCT", "Negative")
INDETERMINATE = Code("82334004", "SCT", "Indeterminate")
PREDICTION_STATE = _private("PRED-STATE", "What became of the prediction")
PREDICTION_STATES = {
    "reported": _private("PRED-REPORTED", "Reported"),
    "indeterminate": _private("PRED-INDET", "Indeterminate: interval crosses the threshold"),
    "withheld": _private("PRED-WITHHELD", "Withheld: model does not apply"),
    "none": _private("PRED-NONE", "None: no lesion to look at"),
}
APPLICABILITY = _private("APPLIC", "Applicability of model to this study")
APPLICABILITIES = {
    "inside": _private("APPLIC-OK", "Applicable"),
    "warning": _private("APPLIC-WARN", "Applicable with warnings"),
    "outside": _private("APPLIC-NO", "Not applicable"),
    "unknown": _private("APPLIC-UNK", "Applicability unknown"),
}
APPLICABILITY_REASON = _private("APPLIC-WHY", "Reason for the verdict on applicability")
MODEL_STATEMENT = _private("MODEL-STATEMENT", "Statement about the model")

# How the numbers came about, and what to beware of
LESION_COUNT = _private("LESION-COUNT", "Number of lesions found")
SUV_RULE = _private("SUV-RULE", "Rule by which stored values became SUV")
SUV_INPUT = _private("SUV-INPUT", "Input of the SUV rule")
WARNING = _private("WARN", "Processing warning")
REGION_SOURCE = _private("REGION-SOURCE", "Where the region came from")

# What the model takes beside the images; each item has its title, its column and its source below it
MODEL_VALUES = _private("MODEL-VALUES", "Values given to the model beside the images")
MODEL_VALUE = _private("MODEL-VALUE", "Value given to the model")
MISSING_VALUE = _private("VALUE-MISSING", "Missing: training median used")
VALUE_COUNT = _private("VALUE-COUNT", "Number of values, of which the first are listed")
VALUE_TITLE = _private("VALUE-TITLE", "Title of the value")
VALUE_NAME = _private("VALUE-NAME", "Name of the value in tables")
VALUE_SOURCE = _private("VALUE-SOURCE", "Source of the value")
VALUE_SOURCES = {
    "table": _private("VALUE-TABLE", "Table or file of the site"),
    "header": _private("VALUE-HEADER", "DICOM header of the images"),
    "measured": _private("VALUE-MEASURED", "Measured on the images"),
}
VALUE_SOURCE_OTHER = _private("VALUE-OTHER", "Another source")

# The other objects of the result set, which the main report is the root of (IHE AI Results); by kind of result.
# Segments that a group measures are named there with (121191, DCM, Referenced Segment) as well.
RESULT_SET = _private("RESULT-SET", "Other objects of this result set")
RESULTS = {
    "seg": _private("RESULT-SEG", "Segmentation"),
    "key_image": _private("RESULT-KEY", "Key image of the results"),
    "heatmap": _private("RESULT-HEAT", "Heatmap"),
    "sr_viewer": _private("RESULT-VIEWER", "Report for viewers"),
    "label_map": _private("RESULT-LABELS", "Segmentation as label map"),
    "parametric_map": _private("RESULT-PM", "Parametric map"),
    "rtstruct": _private("RESULT-RTSTRUCT", "Contours as RT Structure Set"),
    "captures": _private("RESULT-CAPTURE", "Single capture"),
    "mip": _private("RESULT-MIP", "Rotating projection"),
    "pdf": _private("RESULT-PDF", "Report as PDF"),
    "ko": _private("RESULT-KO", "Key object selection"),
}
OTHER_RESULT = _private("RESULT-OTHER", "Other result")
RESULT_COUNT = _private("RESULT-COUNT", "Objects in the series of which three are named")

# A refusal
ANALYSIS_STATE = _private("ANALYSIS", "State of the analysis")
NOT_ANALYSED = _private("NOT-ANALYSED", "Not analysed")
REFUSAL_CODE = _private("REFUSAL-CODE", "Code of the reason for refusal")
REFUSAL_CLASS = _private("REFUSAL-CLASS", "Coded reason for refusal")  # value: a row of dicom_node/errors.py
REFUSAL_REASON = _private("REFUSAL-REASON", "Reason for refusal")


def concept(code: facts.Code) -> Code:
    """A model's own concept as pydicom's, its meaning cut to what DICOM allows (64 characters)."""
    return Code(code.value, code.scheme, code.meaning[:64].rstrip())


def private_scheme() -> Dataset:
    """Item of the Coding Scheme Identification Sequence (0008,0110) that explains the private scheme."""
    item = Dataset()
    item.CodingSchemeDesignator = PRIVATE_SCHEME
    item.CodingSchemeUID = derived_uid("coding scheme", PRIVATE_SCHEME)
    item.CodingSchemeName = "petct-node private codes"
    item.CodingSchemeVersion = "1"
    item.CodingSchemeResponsibleOrganization = MANUFACTURER
    return item

"""Reading results back from the DICOM alone, for people and machines."""

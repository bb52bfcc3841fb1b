"""Reading DICOM files: bounded, never trusted, decoded once."""

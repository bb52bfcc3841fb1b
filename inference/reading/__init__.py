"""Reading files: DICOM bounded, never trusted, decoded once; NIfTI looked over before ITK reads it."""

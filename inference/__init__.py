"""From a PET/CT pair to an analysis: SUV, lesions, prediction, saliency.  Pure: no network, no database, no state."""

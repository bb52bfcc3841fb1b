"""Learning from labelled and unlabelled studies: one loop, several methods."""

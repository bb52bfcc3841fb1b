"""From many features of few patients to a probability: choice of features, classifiers, fusion with values, export."""

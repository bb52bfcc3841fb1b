"""The network: bundle, inputs, prediction, explanation, and whether it applies."""

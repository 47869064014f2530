"""Figures of datasets, samples and predictions."""

"""Latency predictors: features, fitting, calibration, the library of shipped models."""

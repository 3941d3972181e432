"""Evaluators of accuracy, cheap to true."""

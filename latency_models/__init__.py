"""Latency models that ship with hwnas: data only."""

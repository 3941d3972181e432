"""Elastic layers, supernets and their training."""

"""Measuring exported models on a device."""

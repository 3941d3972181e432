"""Deployable bundles and their verification."""

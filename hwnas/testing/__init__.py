"""Contract tests for plugin authors, and a fake device."""

"""Contract tests for plugin authors, small networks, an example front, and a clock that tests set."""

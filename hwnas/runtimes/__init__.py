"""One file per deployment runtime."""

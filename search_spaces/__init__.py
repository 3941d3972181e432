"""Built-in search spaces, one file each."""

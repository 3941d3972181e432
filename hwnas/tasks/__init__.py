"""One file per task: data, splits, input shape."""

"""One data file per device."""

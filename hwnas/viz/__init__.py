"""Tables and reports of a front."""

"""Side-by-side numbers: the testbed against a reference, measured in turns in the same run."""

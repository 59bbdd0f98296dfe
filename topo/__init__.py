"""Values only: plan, profile, names of places, errors, and waiting for a condition."""

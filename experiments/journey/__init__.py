"""``journey``: one visit followed through every part of the infrastructure."""

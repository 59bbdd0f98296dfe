"""What experiments measure with: captures, loads, visits, searches."""

"""What a dead database primary costs: writers, faults, and the accounts of what became of every write."""

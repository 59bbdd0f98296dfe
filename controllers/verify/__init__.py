"""The proof: what the flows on the switches let through, as exact sets of packets."""

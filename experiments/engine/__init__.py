"""How every experiment is run, saved, judged, drawn and reported."""

"""``waf``: are attacks refused, and honest people not?"""

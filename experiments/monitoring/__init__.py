"""``monitoring``: does the monitoring tell the truth, and in time?"""

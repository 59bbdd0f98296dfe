"""The firewalls put to the test: every pair, every port, every wrong rule."""

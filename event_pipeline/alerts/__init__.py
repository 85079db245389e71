"""Alerts: pure conditions over facts, what was raised before, and the channels that carry messages to people."""

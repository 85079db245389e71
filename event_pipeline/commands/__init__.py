"""The commands, one module each; `cli.py` puts them together.

Not here: what they show (`reporting/`), and what they decide (the room below that does the work).
"""

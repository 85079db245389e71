"""The commands, one module each; `cli.py` assembles them.

Not here: what they print (`reporting/`), and the decisions (made by the room below that does the work).
"""

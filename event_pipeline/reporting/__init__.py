"""What people look at: tables, the status grid, the five answers, findings. Shows what it is given and changes no data.

Not here: options of commands (`commands/`), what examines (`inspection/`), and messages to channels (`alerts/`).
"""

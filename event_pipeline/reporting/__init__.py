"""What people look at: tables, the status grid, the five answers, findings. Nothing here changes data.

Not here: options of commands (`commands/`), and messages to channels (`alerts/`).
"""

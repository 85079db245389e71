"""Output for people: tables, the status grid, the Gold tables, findings. Displays what it is given; changes no data.

Not here: command options (`commands/`), examining the data (`inspection/`), and messages to channels (`alerts/`).
"""

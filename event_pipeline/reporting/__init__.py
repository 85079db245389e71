"""What people look at: tables, the status grid, the five answers, findings. Nothing here changes data."""

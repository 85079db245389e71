"""Read-only examination of the data: the doctor, the state of every hour, and the independent recount.

Not here: printing the findings (`reporting/`), and checks of the AWS account (`infrastructure/account.py`).
"""

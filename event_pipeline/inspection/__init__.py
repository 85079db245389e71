"""What examines: the doctor, the state of every hour, and the independent recount. Nothing here changes data.

Not here: how findings are shown (`reporting/`), and what only the account can be asked (`infrastructure/account.py`).
"""

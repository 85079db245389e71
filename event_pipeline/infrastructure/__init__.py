"""The AWS infrastructure: the CloudFormation stack, what is shipped to it, and checks of the account.

Not here: the calls of a build (`engines/aws/`), and the template itself (`infra/cloudformation/`).
"""

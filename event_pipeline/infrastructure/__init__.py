"""The AWS account of the pipeline: one CloudFormation stack, what is shipped to it, and whether it is as expected.

Not here: the calls that a build makes (`engines/aws/`), and the template itself (`infra/cloudformation/`).
"""

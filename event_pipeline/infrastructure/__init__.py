"""The AWS account that the pipeline runs in: one CloudFormation stack, deployed, looked at and removed from here.

Not here: the calls that a build makes (`engines/aws/`), and the template itself (`infra/cloudformation/`).
"""

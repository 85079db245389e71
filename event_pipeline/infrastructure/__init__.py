"""The AWS account that the pipeline runs in: one CloudFormation stack, deployed, looked at and removed from here."""

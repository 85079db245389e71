"""What can be proven of the CloudFormation template without an account."""

"""Commands in addition to those of the CDK."""

"""What Airbyte's standard suite needs of pytest: its options and its parameters of scenarios."""

pytest_plugins = ["airbyte_cdk.test.standard_tests.pytest_hooks"]

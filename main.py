"""Run the connector from a checkout, as the command `source-listrak` does when installed."""

from source_listrak.run import run

if __name__ == "__main__":
    run()

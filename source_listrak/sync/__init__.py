"""What is read, what is done, and how it gets out; knows no stream class."""

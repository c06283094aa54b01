"""Drives the real programs as their users do: by command line, HTTP and Kafka."""

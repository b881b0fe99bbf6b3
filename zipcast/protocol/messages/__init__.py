"""Defines the messages between clients and the service, with one module per topic."""

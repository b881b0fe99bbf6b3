"""The protocol between clients and the service."""

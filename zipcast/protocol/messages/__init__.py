"""The messages between clients and the service, one module per conversation."""

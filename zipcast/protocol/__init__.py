"""What clients and the service agree on."""

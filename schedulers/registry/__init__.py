"""Reads the registry of hotkeys from the chain, or from a file instead, and publishes it."""

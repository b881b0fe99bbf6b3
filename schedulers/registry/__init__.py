"""Reads the registry of hotkeys from the chain, or from a file that replaces the chain, and publishes it."""

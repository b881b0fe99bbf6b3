"""The registry of hotkeys: read from the chain, or from a file in its place, and published."""

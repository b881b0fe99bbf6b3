"""Checks every request: who sent it, and whether that hotkey may send it."""

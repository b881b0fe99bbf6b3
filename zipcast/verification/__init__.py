"""Checks what was published: epochs, pools, and what validators agree on. Pure."""

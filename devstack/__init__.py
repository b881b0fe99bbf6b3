"""Runs a whole Zipcast on one machine: real servers from wheels, and our processes, which it supervises.

`zipcast up`, `zipcast demo` and the integration tests use it. It is not for production.
"""

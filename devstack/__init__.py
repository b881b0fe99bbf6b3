"""Runs all of Zipcast on one machine. It supervises real servers from wheels and our own processes.

`zipcast up`, `zipcast demo` and the integration tests use it. It is not for production.
"""

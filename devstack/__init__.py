"""A whole Zipcast on one machine: real servers from wheels, our processes, and who watches over them.

Serves `zipcast up`, `zipcast demo` and the integration tests alike. Not for production.
"""

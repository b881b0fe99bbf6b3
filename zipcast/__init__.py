"""Holds what two Zipcast processes, or Zipcast and a miner, must agree on, and the SDK that speaks it.

Owns the wire: subjects, messages, signatures, errors, and the pure arithmetic behind an epoch.
Imports none of the services.
"""

"""Contains the protocol that clients and services share, the SDK, and the command `zipcast`.

The protocol consists of subjects, messages, signatures, errors, and the arithmetic of epochs. This package
imports none of the services.
"""

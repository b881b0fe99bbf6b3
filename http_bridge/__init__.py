"""The HTTP bridge: the same requests over HTTP, for clients that cannot use NATS.

Holds no secret that mints anything and no rule of its own: what writes or mints is checked here,
then forwarded with the client's own signature, and checked again by the responder.
"""

"""The HTTP bridge offers the service's requests over HTTP, for clients that cannot use NATS.

The bridge has no secret with which credentials can be issued. It checks a request that writes or issues
something, and forwards it with the client's signature to the responder, which checks it again.
"""

"""The services on NATS: the *callout* decides who may connect, and the *responder* answers requests and
issues credentials."""

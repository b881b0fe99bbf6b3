"""The NATS side: *callout* decides who may connect, *responder* answers requests and mints credentials."""

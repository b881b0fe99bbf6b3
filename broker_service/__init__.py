"""The services on NATS: *callout* decides who may connect, *responder* answers requests and issues
credentials."""

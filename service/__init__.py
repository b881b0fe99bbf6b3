"""Plumbing that every process shares: settings, logs, start and stop, NATS connections, the registry
and the running epoch. It holds no rule of the service and no request handler.
"""

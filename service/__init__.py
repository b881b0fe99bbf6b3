"""Contains what all service processes need: settings, logs, start and stop, NATS connections, the registry
and the running epoch. It has no request handlers.
"""

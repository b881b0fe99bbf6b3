"""Contains the parts that all service processes share: settings, logs, start and stop, NATS connections, the
registry and the running epoch. It contains no request handlers.
"""

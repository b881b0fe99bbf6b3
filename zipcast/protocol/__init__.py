"""Defines the protocol between clients and the service."""

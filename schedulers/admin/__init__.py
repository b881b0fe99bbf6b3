"""Carries out what admins asked for."""

"""Carries out admins' commands."""

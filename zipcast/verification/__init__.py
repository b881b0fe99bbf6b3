"""Verifies published epochs and pools, and computes the validators' consensus. Pure."""

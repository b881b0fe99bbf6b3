"""Epochs at the boundary and metagraph snapshots. Any number of replicas, no leader."""

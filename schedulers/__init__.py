"""The scheduler: it prepares and publishes epochs, and publishes the registry. Any number of replicas can
run."""

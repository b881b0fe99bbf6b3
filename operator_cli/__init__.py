"""The operator's commands, which the distribution `zipcast-server` adds to `zipcast`."""

"""The `zipcast` command: what miners and validators run."""

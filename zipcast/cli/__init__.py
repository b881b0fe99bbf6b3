"""The command `zipcast` for miners and validators."""

"""The object store: policies, presigned addresses, sessions, and checks of a configured store."""

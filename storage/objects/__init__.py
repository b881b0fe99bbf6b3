"""The object store: policies, presigned URLs, sessions, and checks of a configured store."""

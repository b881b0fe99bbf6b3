"""The auth callout decides who may connect to NATS and with which permissions. It has no S3 key."""

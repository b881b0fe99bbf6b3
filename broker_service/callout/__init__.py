"""The auth callout: decides who may connect to NATS and with which permissions. Holds no S3 key."""

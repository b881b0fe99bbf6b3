"""The responder answers requests. It is the only service with S3 keys."""

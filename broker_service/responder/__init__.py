"""The responder: answers requests, and is the only holder of S3 keys."""

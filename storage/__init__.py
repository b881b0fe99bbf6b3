"""Contains the SQL statements and S3 calls of the service, the tables, the S3 policies and presigning, and
the import of zipcodes.

This package does not use NATS.
"""

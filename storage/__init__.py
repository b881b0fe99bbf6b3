"""Contains all SQL statements and S3 calls of Zipcast, the tables, the S3 policies and presigning, and the
import of zipcodes.

This package does not use NATS or HTTP.
"""

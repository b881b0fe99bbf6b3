"""PostgreSQL tables and repositories, object-store policies and presigning, zipcode import.

Owns every SQL statement and every S3 call of Zipcast. Knows nothing of NATS or HTTP.
"""

"""Reads zipcode files (CSV or JSON), checks their rows, reports rejected rows, and imports the accepted ones
into the database."""

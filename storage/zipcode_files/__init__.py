"""Zipcode files: CSV or JSON in, checked rows and named rejections out, and the import into the database."""

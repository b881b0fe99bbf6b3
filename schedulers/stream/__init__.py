"""Publishes each epoch once to the stream, compares the stream with the database, and fills it again if it
was lost."""

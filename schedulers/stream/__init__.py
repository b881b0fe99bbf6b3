"""The stream of epochs: published once, compared with the database, and filled again if it was lost."""

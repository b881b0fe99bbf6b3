"""The steps of an epoch: it is chosen, prepared, opened at its start, and completed or recorded as missed."""

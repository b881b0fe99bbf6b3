"""An epoch, step by step: chosen, prepared, opened at its start, completed or recorded as missed."""

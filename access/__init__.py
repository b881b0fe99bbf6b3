"""Access control: the checks that a request passes."""

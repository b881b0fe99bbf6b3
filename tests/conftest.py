"""For all tests: Hypothesis never judges by the clock, since machines differ."""

from hypothesis import HealthCheck, settings

settings.register_profile("zipcast", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("zipcast")

"""How Hypothesis behaves in `make test`: the same on any machine, however slow or busy."""

from hypothesis import HealthCheck, settings

# The first text drawn in a fresh clone waits for a table of all characters to be made, seconds on
# a busy machine, which neither the deadline nor the check of the generator's speed tells apart
# from a slow test.
settings.register_profile("test", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("test")

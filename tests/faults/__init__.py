"""The fault harness: `make faults` runs it whole, `.ci/run` a tenth of it. See `__main__`."""

"""Whether what the pipeline promises holds under faults: `make reliability` runs the long versions of what CI runs."""

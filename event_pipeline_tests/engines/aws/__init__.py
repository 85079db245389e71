"""The AWS engine over an emulated account."""

"""Tests, in the rooms of the package they test; what several rooms hold on to lies at the top."""

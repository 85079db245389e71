"""Where data is read and written: one protocol that the assets speak, and one engine per place it runs."""

"""Bytes by their name, wherever they lie. Start at `opened.open_blobs`; the interface is `places`."""

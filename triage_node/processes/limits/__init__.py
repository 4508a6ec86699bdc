"""What bounds the node: the machine under it, and the time that a study may take."""

"""The web side of the node: reads, and shows. It gets what it shows through callables and never touches the store."""

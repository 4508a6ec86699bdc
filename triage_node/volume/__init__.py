"""From stored pixels to a Volume in Hounsfield units with true geometry. Decoding happens in a child process with limits."""

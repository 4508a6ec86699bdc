"""Types that travel between rooms. No I/O, no torch, no DICOM library: everything here is plain Python and numpy."""

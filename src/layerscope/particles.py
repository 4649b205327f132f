"""The path from electron micrographs to a table of particles: the page to read first for them."""
